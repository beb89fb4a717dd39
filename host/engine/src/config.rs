//! The deterministic configuration of wasmtime, as one named and versioned value, and the options
//! of an engine. Only [`crate::Engine`] builds a wasmtime engine, and only from here, so no run can
//! ever execute under another configuration.
//!
//! Whatever a guest can observe belongs to [`CONFIG_VERSION`]: changing it here means a new number,
//! because a journal replays only under the configuration that it was written with.

use everstep_core::Limits;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
    WasmFeatures,
};

/// The version of the deterministic configuration. Journals record it.
pub const CONFIG_VERSION: u32 = 1;

/// How deep wasm may recurse, in bytes of native stack. Part of [`CONFIG_VERSION`].
const WASM_STACK: usize = 512 << 10;

/// Fiber stacks of tasks: the wasm stack and room for the host functions that it calls.
const FIBER_STACK: usize = 2 << 20;

/// How many entries one table of a guest may have. Part of [`CONFIG_VERSION`].
pub(crate) const TABLE_ELEMENTS: usize = 100_000;

/// Core instances, tables and memories of one component. Part of [`CONFIG_VERSION`].
const PARTS_PER_COMPONENT: u32 = 16;

/// Core instances that a component gets from us.
const OWN_PARTS: u32 = 1;

/// How often the epoch advances. Tasks yield to other work, and activations look at their deadline,
/// this often.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// What an embedder chooses. None of it changes what a guest computes: limits that a guest can
/// observe are recorded with its run and come with [`crate::RunContext`].
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Where compiled modules are kept between processes; none to compile them anew each time.
    pub cache_dir: Option<PathBuf>,
    /// The most bytes of compiled modules on disk; the oldest go first.
    pub cache_bytes_max: u64,
    /// The most bytes of compiled modules in memory; those that runs use stay in any case.
    pub loaded_bytes_max: usize,
    /// The largest module, in bytes.
    pub module_bytes_max: usize,
    /// The bounds under which `describe` runs. A task without bounds of its own has them, too.
    pub limits: Limits,
    /// The largest memory that any guest may be given, in bytes. Instances reserve address space
    /// (not memory) for it.
    pub memory_bytes_max: usize,
    /// How many workflow instances may exist at once.
    pub max_instances: u32,
    /// How many tasks may run at once.
    pub max_tasks: u32,
    /// The longest an activation may take in real time. A backstop: fuel ends it long before.
    pub activation_timeout: Duration,
    /// The longest one attempt of a task may take, whatever its options say.
    pub task_timeout_max: Duration,
    /// The longest `describe` may take.
    pub describe_timeout: Duration,
    /// The fuel of `describe`.
    pub describe_fuel: u64,
    /// What tasks may ask for by name, if their grants say so.
    pub secrets: Secrets,
}

/// Values by name that are shown to nobody but tasks that are granted them.
#[derive(Clone, Default)]
pub struct Secrets(Arc<BTreeMap<String, String>>);

impl Secrets {
    /// These secrets.
    #[must_use]
    pub fn new(values: BTreeMap<String, String>) -> Self {
        Self(Arc::new(values))
    }

    /// The secret of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&String> {
        self.0.get(name)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            cache_bytes_max: 4 << 30,
            loaded_bytes_max: 1 << 30,
            module_bytes_max: 64 << 20,
            limits: Limits::default(),
            memory_bytes_max: 256 << 20,
            max_instances: 1_000,
            max_tasks: 256,
            activation_timeout: Duration::from_secs(30),
            task_timeout_max: Duration::from_secs(24 * 3600),
            describe_timeout: Duration::from_secs(5),
            describe_fuel: 500_000_000,
            secrets: Secrets::default(),
        }
    }
}

/// The wasm features that guests may use: a fixed set, all of them deterministic. Threads, GC,
/// exceptions, stack switching, 64-bit memories and component-model async are refused, since their
/// state lives where neither a replay nor a snapshot would see it.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::COMPONENT_MODEL)
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG);

/// The configuration with number [`CONFIG_VERSION`].
pub(crate) fn wasmtime_config(options: &EngineOptions) -> Config {
    let mut config = Config::new();
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true)
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(true)
        .concurrency_support(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .debug_symbols(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    config
}

/// Slots for guests: address space is reserved up front, memory is taken as guests grow and given
/// back when they go, but for a little that makes the next instantiation quick.
fn pool(options: &EngineOptions) -> PoolingAllocationConfig {
    let slots = options.max_instances.saturating_add(options.max_tasks);
    // Most components have one memory, two tables and four core instances; the totals allow for
    // more, and a component that takes more slots than its share only means fewer at once.
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(5))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(3))
        .total_stacks(options.max_tasks)
        .max_core_instances_per_component(PARTS_PER_COMPONENT + OWN_PARTS)
        .max_memories_per_component(PARTS_PER_COMPONENT)
        .max_tables_per_component(PARTS_PER_COMPONENT)
        .max_memories_per_module(2)
        .max_tables_per_module(4)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(options.memory_bytes_max)
        .max_unused_warm_slots(64)
        .linear_memory_keep_resident(128 << 10)
        .table_keep_resident(16 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}
