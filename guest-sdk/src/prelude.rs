//! What a workflow crate needs: `use everstep_sdk::prelude::*;`.

pub use crate::time::{Timestamp, days, hours, millis, minutes, secs};
pub use crate::{
    Awaited, ChildHandle, ChildOptions, EventTarget, Exponential, Fixed, OnParentEnd, RetryPolicy,
    Run, Saga, Task, TaskContext, TaskError, TaskHandle, TaskOptions, TaskResult, Workflow,
    WorkflowError, WorkflowResult, fields, payload, saga, task, workflow,
};
pub use futures::future::{join_all, try_join_all};
/// Waits for the first of several futures. It polls them in the order in which they are written,
/// so the first one that is ready wins, in a replay as well.
pub use futures::select_biased as select;
pub use futures::stream::{FuturesUnordered, StreamExt};
pub use futures::{join, try_join};
pub use schemars::JsonSchema;
pub use serde::{Deserialize, Serialize};
