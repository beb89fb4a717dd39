//! Runs that start runs.
//!
//! `gather` starts many children and adds up what they give. `cascade` starts a child that starts a
//! child …; whoever cancels the first one cancels them all. `mentor` waits for a child with a time
//! limit, tells it to hurry by an event, and is told something in return.
//!
//! `everstep start gather --input '{"children": 10}'`

use everstep_sdk::prelude::*;

#[payload]
struct Gather {
    children: u64,
}

/// Starts a child for each number and adds up the squares.
#[workflow(version = "1.0")]
async fn gather(run: Run, input: Gather) -> WorkflowResult<u64> {
    let children = (1..=input.children).map(|n| square.start_child(&run, n));
    Ok(try_join_all(children).await?.into_iter().sum())
}

/// Squares a number; refuses 13.
#[workflow(version = "1.0")]
async fn square(_run: Run, n: u64) -> WorkflowResult<u64> {
    if n == 13 {
        return Err(WorkflowError::new("number.unlucky", "not this one").not_retryable());
    }
    Ok(n * n)
}

#[payload]
struct Cascade {
    levels: u32,
    /// What becomes of a child when its parent ends first.
    #[serde(default)]
    abandon: bool,
}

/// Starts a child of itself until the levels are used up; the last one waits for an event.
#[workflow(version = "1.0", events(go = u64))]
async fn cascade(run: Run, input: Cascade) -> WorkflowResult<u64> {
    if input.levels <= 1 {
        return Ok(run.event::<u64>("go").await);
    }
    let on_parent_end = if input.abandon { OnParentEnd::Abandon } else { OnParentEnd::Cancel };
    let options = ChildOptions { on_parent_end, ..ChildOptions::default() };
    let below = Cascade { levels: input.levels - 1, abandon: input.abandon };
    Ok(1 + cascade.child(options).start_child(&run, below).await?)
}

#[payload]
struct Mentoring {
    patience_ms: u64,
}

#[payload]
struct Lesson {
    hurried: bool,
    heard: String,
    learned: u64,
}

/// Waits for its apprentice, not longer than its patience; then it says so.
#[workflow(version = "1.0", events(question = String))]
async fn mentor(run: Run, input: Mentoring) -> WorkflowResult<Lesson> {
    let mut child = apprentice.start_child(&run, ());
    let heard = run.event::<String>("question").await;
    if let Some(learned) = child.wait_for(&run, millis(input.patience_ms)).await {
        return Ok(Lesson { hurried: false, heard, learned: learned? });
    }
    child.send("hurry", &42_u64).await?;
    Ok(Lesson { hurried: true, heard, learned: child.await? })
}

/// Asks its mentor something, and waits to be told.
#[workflow(version = "1.0", events(hurry = u64))]
async fn apprentice(run: Run) -> WorkflowResult<u64> {
    let mentor = run.parent().unwrap_or_default();
    run.send(mentor, "question", &"how long may I take?").await?;
    Ok(run.event::<u64>("hurry").await)
}

/// Tells its apprentice to hurry before that has begun.
#[workflow(version = "1.0", events(question = String))]
async fn hasty(run: Run) -> WorkflowResult<u64> {
    let child = apprentice.start_child(&run, ());
    child.send("hurry", &5_u64).await?;
    child.await
}

#[payload]
struct Strange {
    workflow: String,
}

/// Starts something by its name, which may not exist.
#[workflow(version = "1.0")]
async fn strange(run: Run, input: Strange) -> WorkflowResult<serde_json::Value> {
    run.start_child(&input.workflow, &(), ChildOptions::default()).await
}

#[payload]
struct Named {
    name: String,
}

/// Has a key; as a child it has its name from its parent all the same.
#[workflow(version = "1.0", key = "named-${name}")]
async fn named(_run: Run, input: Named) -> WorkflowResult<String> {
    Ok(input.name)
}

/// Starts two children that would have the same key.
#[workflow(version = "1.0")]
async fn twins(run: Run, input: Named) -> WorkflowResult<(String, String)> {
    let twin = || named.start_child(&run, Named { name: input.name.clone() });
    let (one, other) = (twin(), twin());
    Ok((one.await?, other.await?))
}

use everstep_sdk::serde_json;

everstep_sdk::module!(
    workflows: [gather, square, cascade, mentor, apprentice, hasty, strange, named, twins]
);
