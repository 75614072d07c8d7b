//! The Hypercore stack on the command line.

fn main() {}
