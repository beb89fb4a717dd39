//! The wasmtime sandbox of Everstep: loads modules, runs activations and tasks.
