//! The program as its user meets it: text, JSON, exit codes and error texts, driven through the binary on the model that the
//! repository carries.

mod cache;
#[cfg(unix)]
mod chat;
mod commands;
mod config;
#[path = "../common/demands.rs"]
mod demands;
mod interrupt;
#[cfg(unix)]
mod keys;
mod mistakes;
mod program;
mod run;
#[cfg(unix)]
mod terminal;
mod tokenizer;
mod tune;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("the_carried_model_tells_its_story_word_for_word", run::story),
        Trial::test("json_has_every_key_and_the_same_text", run::json),
        Trial::test("drafts_change_no_text", run::lookup),
        Trial::test("a_generation_ends_for_the_reason_it_says", run::reasons),
        Trial::test("ignore_eos_makes_the_end_token_impossible", run::ignore_eos),
        Trial::test("the_same_seed_gives_the_same_text", run::seed),
        Trial::test("keys_and_values_are_kept_as_they_were_asked_to_be", run::kept),
        Trial::test("a_prompt_comes_from_the_line_a_file_or_standard_input", run::prompts),
        Trial::test("an_answer_has_the_form_that_is_asked_for", run::form)
            .with_ignored_flag(cfg!(not(feature = "grammar"))),
        Trial::test("auto_says_that_it_chose_the_cpu", run::fallback),
        Trial::test("mistakes_have_their_exit_code_and_say_what_to_do", mistakes::mistakes),
        Trial::test("nothing_that_a_file_says_steers_the_terminal", mistakes::steering),
        Trial::test("numbers_beyond_all_bounds_are_errors_at_once", mistakes::beyond_all_bounds),
        Trial::test("results_before_an_error_are_still_json", mistakes::json_before_an_error),
        Trial::test("bad_model_files_are_named_with_what_is_wrong", mistakes::bad_files),
        Trial::test("output_that_is_lost_is_an_error", run::lost_output).with_ignored_flag(cfg!(not(unix))),
        Trial::test("standard_error_holds_no_words_of_drivers", run::silent_drivers),
        Trial::test("a_reader_that_leaves_ends_the_program_quietly", run::closed_pipe),
        Trial::test("tokenize_prints_ids_and_their_text", commands::tokenize),
        Trial::test("a_tokenizer_of_a_file_takes_the_place_of_the_models_own", tokenizer::story),
        Trial::test("a_tokenizer_of_another_model_is_refused", tokenizer::of_another_model),
        Trial::test("template_prints_what_the_model_is_given", commands::template),
        Trial::test("inspect_prints_metadata_and_tensors", commands::inspect),
        Trial::test("logits_are_written_for_every_position", commands::logits),
        Trial::test("logits_leave_what_is_there_until_they_are_whole", commands::logits_overwrites_nothing),
        Trial::test("bench_prints_the_columns_and_keys_of_llama_bench", commands::bench),
        Trial::test("what_cannot_be_tuned_says_why", tune::refused),
        Trial::test("flags_are_read_from_the_environment", run::environment),
        Trial::test("a_variable_that_is_set_to_nothing_is_not_set", run::empty_environment),
        Trial::test("a_text_that_begins_with_a_dash_is_a_text", run::dashes),
    ];
    trials.extend(interrupt::trials());
    trials.extend(config::trials());
    #[cfg(unix)]
    {
        trials.extend(chat::trials());
        trials.extend(keys::trials());
    }
    if cfg!(feature = "embedded-model") {
        trials.push(Trial::test("without_arguments_a_story_is_told", run::no_arguments));
    }
    let adapters = wgllm::gpu::adapters();
    let required = std::env::var("WGLLM_REQUIRE_ADAPTER").is_ok_and(|v| v == "1");
    if adapters.is_empty() {
        let none = move || if required { Err("there is no adapter here".into()) } else { Ok(()) };
        trials.push(Trial::test("on a GPU (no adapter here)", none).with_ignored_flag(!required));
    }
    for adapter in adapters {
        let (number, name) = (adapter.index.to_string(), adapter.info.name);
        let device = number.clone();
        trials.push(Trial::test(format!("the_story_is_the_same_on {name}"), move || run::gpu_story(&device)));
        let device = number.clone();
        let same = format!("the_same_seed_gives_the_same_text_on {name}");
        trials.push(Trial::test(same, move || run::gpu_seed(&device)));
        let device = number.clone();
        trials
            .push(Trial::test(format!("a_profile_is_printed_on {name}"), move || commands::profile(&device)));
        let device = number.clone();
        let ends = format!("ctrl_c_ends_any_command_on {name}");
        trials.push(Trial::test(ends, move || interrupt::on_gpu(&device)).with_ignored_flag(cfg!(not(unix))));
        #[cfg(unix)]
        {
            let device = number.clone();
            let loading = format!("ctrl_c_while_a_chat_loads_on {name}");
            trials.push(Trial::test(loading, move || keys::ctrl_c_while_loading(&device)));
        }
        let device = number.clone();
        let windows = format!("a_window_of_recent_tokens_is_as_long_as_on_the_cpu_on {name}");
        trials.push(Trial::test(windows, move || run::gpu_windows(&device)));
        let device = number.clone();
        let replaced = format!("a_pipeline_cache_that_is_not_taken_is_replaced_on {name}");
        // Only Vulkan's drivers hand their cache out.
        let none = adapter.info.api != "vulkan";
        trials.push(Trial::test(replaced, move || cache::replaced(&device)).with_ignored_flag(none));
        let device = number.clone();
        trials
            .push(Trial::test(format!("a_tuned_table_is_kept_and_changes_no_result_on {name}"), move || {
                tune::tuned(&device)
            }));
        trials.push(Trial::test(format!("check_agrees_on {name}"), move || commands::check(&number)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
