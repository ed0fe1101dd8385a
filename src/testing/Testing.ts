/**
 * Tools for tests of routes: a scripted gateway, a simulation of traffic, and suites for implementations of the
 * library's interfaces.
 */
export * as Conformance from "./Conformance.ts"
export * as ScriptedPeer from "./ScriptedPeer.ts"
export * as Simulation from "./Simulation.ts"
