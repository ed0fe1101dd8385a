/**
 * Routes behind Effect's `LanguageModel` and `EmbeddingModel`: a program written for `effect/ai` gets fallbacks,
 * deadlines, reliable stream errors and log ids from another Layer. `effect/ai` is unstable in Effect 4, so only this
 * sub-path depends on it.
 */
export * as GatewayEmbeddingModel from "./GatewayEmbeddingModel.ts"
export * as GatewayHttpClient from "./GatewayHttpClient.ts"
export * as GatewayLanguageModel from "./GatewayLanguageModel.ts"
export * as GatewayModel from "./GatewayModel.ts"
