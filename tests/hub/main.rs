//! Models by name, against a hub of the tests' own: what is fetched, kept, found and removed, and what happens when the hub or the
//! connection is not as it should be.

mod cached;
mod cli;
#[path = "../common/demands.rs"]
mod demands;
mod faults;
mod fetched;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use wgllm::cancel::Cancel;
use wgllm::error::Error;
use wgllm::hub::{Event, Name, Pulled, Settings, pull};

use server::Server;

use demands::{contains, equal, must};

type Outcome = Result<(), Failed>;
type Test = (&'static str, fn() -> Outcome);

fn main() -> ExitCode {
    // A proxy would be asked for this machine's own addresses, too.
    // SAFETY: nothing has run before this: no other thread reads the environment.
    unsafe { std::env::set_var("NO_PROXY", "*") }
    let tests: &[Test] = &[
        ("what_is_fetched_lies_as_other_tools_have_it", fetched::layout),
        ("what_is_there_is_not_fetched_again", fetched::again),
        ("parts_of_a_split_model_come_together", fetched::split),
        ("a_new_commit_fetches_what_is_new", fetched::new_commit),
        ("a_token_goes_to_the_hub_and_to_no_other_host", fetched::token),
        ("names_with_odd_characters_are_escaped", fetched::odd_names),
        ("a_fetch_goes_on_where_it_broke_off", fetched::resumed),
        ("what_another_tool_fetched_is_found_without_the_hub", cached::found),
        ("a_half_model_is_not_found", cached::half),
        ("list_and_remove_take_what_is_meant_and_no_more", cached::removed),
        ("connections_that_break_are_taken_up_again", faults::breaks),
        ("a_connection_where_nothing_comes_is_given_up", faults::stalls),
        ("a_hub_without_ranges_gives_the_file_from_its_beginning", faults::no_ranges),
        ("wrong_hashes_and_sizes_are_refused_and_not_kept", faults::lies),
        ("a_damaged_part_of_an_earlier_run_is_fetched_anew", faults::damaged),
        ("a_hub_that_asks_to_wait_is_asked_again", faults::busy),
        ("refusals_say_what_to_do", faults::refusals),
        ("offline_nothing_is_asked", faults::offline),
        ("giving_up_leaves_a_part_to_go_on_from", faults::gives_up),
        ("two_fetches_of_one_file_wait_for_each_other", faults::at_once),
        ("pull_list_hf_and_rm_work_from_the_command_line", cli::commands),
    ];
    let mut trials: Vec<Trial> = tests.iter().map(|&(name, test)| Trial::test(name, test)).collect();
    let unix = cfg!(unix);
    trials.push(
        Trial::test("a_full_disk_is_said_and_nothing_is_half_there", faults::full_disk)
            .with_ignored_flag(!unix),
    );
    trials.push(Trial::test("ctrl_c_leaves_a_part_to_go_on_from", cli::ctrl_c).with_ignored_flag(!unix));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

const REPO: &str = "org/Tiny-GGUF";

/// A name in the repository that servers have.
fn name(choice: &str) -> Name {
    format!("{REPO}:{choice}").parse().unwrap_or_else(|e| panic!("{e}"))
}

/// Settings for a server and a folder that is the cache.
fn settings(server: &Server, cache: &Path) -> Settings {
    Settings {
        endpoint: server.address(),
        token: None,
        cache: cache.into(),
        offline: false,
        patience: Duration::from_millis(10),
        stall: Duration::from_millis(400),
    }
}

/// Fetches, and keeps the words.
fn fetch(settings: &Settings, name: &Name) -> (Result<Pulled, Error>, Vec<String>) {
    let mut notes = Vec::new();
    let pulled = pull(settings, name, &Cancel::new(), &mut |event| {
        if let Event::Note(note) = event {
            notes.push(note);
        }
    });
    (pulled, notes)
}

/// The folder of the repository in a cache.
fn repository(cache: &Path) -> PathBuf {
    cache.join("models--org--Tiny-GGUF")
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Bytes that look like nothing else.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}
