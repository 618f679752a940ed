//! The server as its clients meet it: real sockets, the model that the repository carries, on the CPU and on every adapter.

#[path = "../common/adapters.rs"]
mod adapters;
mod answers;
#[path = "../common/blocks.rs"]
mod blocks;
#[path = "../common/byte_model.rs"]
mod byte_model;
mod calls;
mod client;
#[path = "../common/demands.rs"]
mod demands;
mod embeddings;
mod errors;
mod faults;
mod forms;
#[path = "../common/gguf_file.rs"]
mod gguf_file;
#[path = "../common/json_schema.rs"]
mod json_schema;
mod load;
mod many;
mod openapi;
#[cfg(unix)]
mod program;
mod server;
mod structured;
#[path = "../common/tiny_model.rs"]
mod tiny_model;
#[path = "../common/wrapped.rs"]
mod wrapped;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use adapters::{Target, adapters, none_here};

use demands::{equal, must};

type Outcome = Result<(), Failed>;
/// A trial's name, and what it does.
type OnTarget = (&'static str, fn(&Target) -> Outcome);
type OnCpu = (&'static str, fn() -> Outcome);

const SMALL_POOL: &str = "a pool that is too small for all makes some wait, and all get what they get alone";
const LAST: &str = "embeddings may be the last token's";

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let mut targets = vec![Target::cpu()];
    targets.extend(adapters());
    if targets.len() == 1 {
        trials.push(none_here("serving on an adapter"));
    }
    for target in &targets {
        let all: &[OnTarget] = &[
            ("a completion is the story, whole and streamed", answers::story),
            ("clients at once get what each gets alone", many::together),
            (SMALL_POOL, many::small_pool),
            ("log probabilities are those of the tokens that are chosen", answers::logprobs),
            ("answers by a schema are valid, at all paths, whole and streamed", structured::formats),
            ("embeddings are hidden states of which logits are made", embeddings::means),
            (LAST, embeddings::last),
        ];
        for &(name, run) in all {
            let of = target.clone();
            let trial = Trial::test(format!("{name}, on {}", target.label), move || run(&of));
            // A software adapter takes more than a minute, and neither who waits nor which rows are taken depends on where is computed.
            trials.push(trial.with_ignored_flag([SMALL_POOL, LAST].contains(&name) && !target.is_cpu()));
        }
        // It takes minutes: `.ci/clients` runs a shorter one.
        let of = target.clone();
        let name = format!("64 clients get what each gets alone, on {}", target.label);
        trials.push(Trial::test(name, move || load::clients(&of)).with_ignored_flag(true));
    }
    let on_cpu: &[OnCpu] = &[
        ("chats have the shapes that clients know", answers::chats),
        ("stop strings, limits and choices end answers", answers::ends),
        ("biases and penalties change what is chosen", answers::sampling),
        ("text becomes tokens and tokens text", answers::tokens),
        ("thoughts and calls of tools have the shapes that clients know", calls::all_forms),
        ("expressions and grammars are kept to", structured::languages),
        ("a required call comes in every form", structured::required),
        ("channels are thoughts, text and calls", structured::channels),
        ("a strict tool's schema holds where no call is forced", structured::strict),
        ("a schema holds behind a thought", structured::thoughts),
        ("schemas and choices that cannot be kept to are 400 and named", structured::mistakes),
        ("everything is documented as it is", openapi::document),
        ("responses have the shapes that clients know", forms::responses),
        ("messages have the shapes that clients know", forms::messages),
        ("what is no embedding is refused", embeddings::refused),
        ("a shared beginning is computed once", many::prefixes),
        ("a client that leaves frees its place", many::leaving),
        ("a full queue is 429", many::full),
        ("who generates waits for a part of another's prompt alone", many::beside),
        ("memory stays flat", many::flat),
        ("mistakes are 400 and named", errors::fields),
        ("a mistake deep in a request is named where it is", errors::deep),
        ("bodies that are no requests are refused", errors::bodies),
        ("a prompt that does not fit is told its numbers", errors::too_long),
        ("paths and methods that are not there are told", errors::paths),
        ("a key is asked for", errors::keys),
        ("pages of other origins are refused, unless they are named", errors::origins),
        ("slow senders are not waited for", errors::slow),
        ("a model that is being loaded is 503", errors::loading),
        ("answers go on where a lost device broke them off", faults::lost),
        ("an answer that loses its device again and again is 503", faults::lost_too_often),
        ("a step that panics is 500, and the server goes on", faults::panics),
        ("a server that ends lets answers end", errors::draining),
    ];
    for &(name, run) in on_cpu {
        trials.push(Trial::test(name, run));
    }
    #[cfg(unix)]
    trials.extend(program::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
