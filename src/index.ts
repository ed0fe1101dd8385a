/**
 * Cloudflare AI Gateway for Effect. Each module is also an entry point of its own (`effect-ai-gateway/Route`), which is
 * what a Worker should import: bundlers drop what is not used from those.
 */
export * as AiService from "./AiService.ts"
export * as Batch from "./Batch.ts"
export * as BatchJournal from "./BatchJournal.ts"
export * as Chat from "./Chat.ts"
export * as Classifier from "./Classifier.ts"
export * as ErrorSchema from "./ErrorSchema.ts"
export * as GatewayError from "./GatewayError.ts"
export * as GatewayLog from "./GatewayLog.ts"
export * as GatewayOptions from "./GatewayOptions.ts"
export * as GatewayResponse from "./GatewayResponse.ts"
export * as GatewayService from "./GatewayService.ts"
export * as Limiter from "./Limiter.ts"
export * as LogTrail from "./LogTrail.ts"
export * as Pricing from "./Pricing.ts"
export * as Provider from "./Provider.ts"
export * as Route from "./Route.ts"
export * as Router from "./Router.ts"
export * as StreamResponse from "./StreamResponse.ts"
export * as Transport from "./Transport.ts"
export * as UniversalRequest from "./UniversalRequest.ts"
