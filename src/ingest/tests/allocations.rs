//! From chunk to encoded rows no event costs an allocation: once the buffers have grown, a feed can
//! go on for ever.

#![allow(unsafe_code)] // an allocator is unsafe by nature
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use ingest::fuzzing::Bench;
use sse::{Item, Limits, Parser};

#[path = "../benches/restaurant/mod.rs"]
mod restaurant;

const EVENTS: usize = 4_000;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn run(parser: &mut Parser, bench: &mut Bench, chunks: &[Bytes]) -> usize {
    let mut events = 0;
    for chunk in chunks {
        parser.push(chunk.clone());
        while let Some(item) = parser.next() {
            if let Item::Event(event) = item {
                if events % 500 == 0 {
                    bench.clear();
                }
                bench.decode(events, events as i64, event.event, event.data).unwrap();
                events += 1;
            }
        }
    }
    events
}

#[test]
fn no_event_costs_an_allocation() {
    let wire = Bytes::from(restaurant::corpus::wire(EVENTS));
    for size in [100, 1 << 10, 8 << 10, 1 << 20] {
        let ends = (0..wire.len()).step_by(size);
        let chunks: Vec<Bytes> = ends.map(|at| wire.slice(at..wire.len().min(at + size))).collect();
        let mut bench = restaurant::bench();
        let mut parser = Parser::new(Limits::default());
        // The parser changes two buffers about, which grow one after the other.
        for _ in 0..2 {
            assert_eq!(run(&mut parser, &mut bench, &chunks), EVENTS);
        }
        let before = ALLOCATIONS.get();
        assert_eq!(run(&mut parser, &mut bench, &chunks), EVENTS);
        assert_eq!(ALLOCATIONS.get() - before, 0, "in chunks of {size} bytes");
    }
}
