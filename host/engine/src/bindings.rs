//! The host's side of `wit/`, generated. `imports/` implements the traits, [`crate::Module`] calls
//! the exports.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "module",
    imports: { default: trappable },
    // Tasks block, on a fiber; everything else is a plain call.
    exports: { "task.run": async },
});
