//! Somebody who loads and unloads programs beside the tests, 50 a second: to see that no test minds.
//! Runs for as many seconds as it is told, or until it is ended.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a tool for tests")]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use testkit::Stranger;

fn main() {
    let seconds = std::env::args().nth(1).map(|text| text.parse().unwrap());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let stranger = Stranger::start();
    let begin = Instant::now();
    while end.is_none_or(|end| Instant::now() < end) {
        sleep(Duration::from_secs(5));
        let (loads, time) = (stranger.loads(), begin.elapsed());
        eprintln!("{loads} loads in {:.0} s", time.as_secs_f64());
    }
    stranger.end();
}
