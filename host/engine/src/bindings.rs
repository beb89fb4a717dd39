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

impl<T: 'static> ModulePre<T> {
    /// An instance, with what its other exports are found by.
    pub(crate) fn instantiate_whole(
        &self,
        mut store: impl wasmtime::AsContextMut<Data = T>,
    ) -> wasmtime::Result<(Module, wasmtime::component::Instance)> {
        let mut store = store.as_context_mut();
        let instance = self.instance_pre.instantiate(&mut store)?;
        Ok((self.indices.load(&mut store, &instance)?, instance))
    }
}
