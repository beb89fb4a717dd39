//! A test executed twice: as it is, and with a crash around every commit.

use crate::World;

/// Executes a script in a world of its own, and again in one where the host crashes everywhere (see
/// [`World::crash_everywhere`]). The script may assert whatever it likes; beyond that, every run must
/// have the same journal, entry by entry, the same log, state and published value both times, and
/// must replay.
///
/// # Panics
/// When crashes make a difference.
pub fn survives_crashes(make: impl Fn() -> World, script: impl Fn(&mut World)) {
    let mut calm = make();
    script(&mut calm);
    calm.replay_all();
    let mut stormy = make();
    stormy.crash_everywhere();
    script(&mut stormy);
    stormy.replay_all();
    assert_eq!(calm.runs(), stormy.runs(), "with crashes, other runs were started");
    for run in calm.runs() {
        let (before, after) = (calm.journal(*run), stormy.journal(*run));
        for (position, pair) in before.iter().zip(after).enumerate() {
            assert_eq!(pair.0, pair.1, "with crashes, run {run} has another entry {position}");
        }
        assert_eq!(before.len(), after.len(), "with crashes, run {run} has another journal");
        assert_eq!(calm.state(*run), stormy.state(*run), "with crashes, run {run} is otherwise");
        assert_eq!(calm.logs(*run), stormy.logs(*run), "with crashes, run {run} logs otherwise");
        assert_eq!(calm.published(*run), stormy.published(*run), "what run {run} shows");
    }
}
