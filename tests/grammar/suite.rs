//! JSON Schema's public test suite, which PyPI's `jsonschema` carries: what a schema is taken for keeps all that is invalid by it out, and
//! what is not taken is told with a reason. `WGLLM_JSON_SCHEMA_SUITE` is its folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use serde_json::{Map, Value};
use wgllm::constraint::Constraint;
use wgllm::grammar::{Grammars, Language};

use crate::demands::must;
use crate::fixtures::files;
use crate::{Outcome, byte_model, mistakes};

const DRAFTS: &[&str] = &["draft4", "draft6", "draft7", "draft2019-09", "draft2020-12"];

/// What is not kept to: the file, a part of the description, and why.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    (
        "content",
        "validation of",
        "what a text holds is a remark since 2019-09, and one that need not be checked before",
    ),
    (
        "ecmascript-regex",
        "\\S matches everything but",
        "whether U+FEFF is white space depends on the kind of expressions",
    ),
];

/// Longer than any of its schemas may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// One for each draft.
pub fn trials() -> Vec<Trial> {
    let Some(folder) = std::env::var_os("WGLLM_JSON_SCHEMA_SUITE").map(PathBuf::from) else {
        let name = "JSON Schema's test suite (set WGLLM_JSON_SCHEMA_SUITE to its folder)";
        return vec![Trial::test(name, || Ok(())).with_ignored_flag(true)];
    };
    let trial = |draft: &&'static str| {
        let (name, folder) = (format!("JSON Schema's test suite, {draft}"), folder.join(draft));
        Trial::test(name, move || kept_to(&folder))
    };
    DRAFTS.iter().map(trial).collect()
}

#[derive(Default)]
struct Counts {
    schemas: usize,
    taken: usize,
    valid: usize,
    /// Of those that are valid, those that can be said.
    said: usize,
    invalid: usize,
}

fn kept_to(folder: &Path) -> Outcome {
    let grammars = mistakes::grammars()?;
    let (mut counts, mut faults) = (Counts::default(), Vec::new());
    let mut all = files(folder, "json");
    all.extend(files(&folder.join("optional"), "json"));
    must(!all.is_empty(), || format!("nothing is in {}", folder.display()))?;
    for path in all {
        let groups: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        for group in groups {
            let stem = path.file_stem().unwrap_or_default().display().to_string();
            let place = format!("{stem}: {}", group["description"]);
            if EXCEPTIONS.iter().any(|(file, part, _)| *file == stem && place.contains(part)) {
                continue;
            }
            counts.schemas += 1;
            group_kept_to(&grammars, &group, &mut counts)
                .map_err(|fault| faults.push(format!("{place}: {}", fault.message().unwrap_or_default())))
                .ok();
        }
    }
    let Counts { schemas, taken, valid, said, invalid } = counts;
    eprintln!(
        "{taken} of {schemas} schemas are taken; of their values all {invalid} invalid ones are kept out, {said} of {valid} valid ones can be said"
    );
    must(faults.is_empty(), || faults.join("\n"))
}

fn group_kept_to(grammars: &Grammars, group: &Value, counts: &mut Counts) -> Outcome {
    let (schema, start) = (&group["schema"], Instant::now());
    let made = grammars.constraint(&Language::JsonSchema(schema.clone()).into(), None);
    must(start.elapsed() < PATIENCE, || format!("it took {:?}", start.elapsed()))?;
    let constraint = match made {
        Ok(constraint) => constraint,
        Err(error) => {
            let told = error.to_string();
            return must(!told.is_empty() && told.len() < 600, || format!("{schema}: {told:?}"));
        }
    };
    counts.taken += 1;
    for test in group["tests"].as_array().into_iter().flatten() {
        let data = &test["data"];
        let mut forms = vec![data.to_string(), ordered(data, schema).to_string()];
        forms.dedup();
        let mut taken = false;
        for form in &forms {
            taken |= takes(&constraint, form)?;
        }
        if test["valid"] == true {
            counts.valid += 1;
            counts.said += usize::from(taken);
        } else {
            counts.invalid += 1;
            must(!taken, || format!("{schema} takes {data}, {}", test["description"]))?;
        }
    }
    Ok(())
}

/// The same with its members in the schema's order, in which answers have them.
fn ordered(data: &Value, schema: &Value) -> Value {
    let Value::Object(members) = data else { return data.clone() };
    let first = schema["properties"].as_object().into_iter().flat_map(Map::keys);
    let first = first.filter_map(|key| Some((key.clone(), members.get(key)?.clone())));
    let mut all: Map<String, Value> = first.collect();
    for (key, value) in members {
        all.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Value::Object(all)
}

/// Whether an answer may be this text, byte by byte.
fn takes(constraint: &Constraint, text: &str) -> Result<bool, Failed> {
    let mut matcher = constraint.start();
    for byte in text.bytes() {
        if matcher.is_complete() || !matcher.mask()?.allows(u32::from(byte)) {
            return Ok(false);
        }
        matcher.push(u32::from(byte))?;
    }
    Ok(matcher.is_complete() || matcher.mask()?.allows(byte_model::END))
}
