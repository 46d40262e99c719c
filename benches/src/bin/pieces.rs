//! Runs a piece of the hot path so many times: what `instructions` puts under callgrind. It prints nothing.

use portcullis_benches::count::pieces;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if let (Some(name), Some(Ok(times))) = (arguments.next(), arguments.next().map(|times| times.parse())) {
        pieces::run(&name, times);
    }
}
