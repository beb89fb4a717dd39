//! The everstep command line: server, host, client and tools in one binary.
fn main() {}
