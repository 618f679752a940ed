//! Which files of a repository are a model, and which model is meant.

use crate::error::{Error, Result};

use super::name::Name;

/// What is taken where nobody says which: small and good, and where that is missing the next best.
const PREFERRED: [&str; 2] = ["Q4_K_M", "Q8_0"];

/// A model in a repository: a GGUF file, or the parts of a split one in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelFiles {
    /// The path without the part's number and `.gguf`.
    pub stem: String,
    /// Paths in the repository.
    pub files: Vec<String>,
    /// How many parts the names promise.
    parts: usize,
}

impl ModelFiles {
    /// Whether every part is there.
    pub fn is_whole(&self) -> bool {
        self.files.len() == self.parts
    }

    /// The quantisation as the name says it, else the name.
    pub fn label(&self) -> String {
        let name = self.stem.rsplit('/').next().unwrap_or_default();
        let words: Vec<&str> = name.split(['-', '.']).collect();
        for (at, word) in words.iter().enumerate().rev() {
            let mut rest = Some(*word);
            while let Some(part) = rest {
                if is_quantisation(part) {
                    let dynamic = at > 0 && part == *word && words[at - 1].eq_ignore_ascii_case("UD");
                    return if dynamic { format!("{}-{part}", words[at - 1]) } else { part.into() };
                }
                rest = part.split_once('_').map(|(_, rest)| rest);
            }
        }
        name.into()
    }

    /// Whether `choice` names it: its file, or a word or several of its name, such as `Q4_K_M` or `UD-Q4_K_XL`, in any case.
    fn is_meant_by(&self, choice: &str) -> bool {
        if choice.to_ascii_lowercase().ends_with(".gguf") {
            let name = |file: &String| file == choice || file.rsplit('/').next() == Some(choice);
            return self.files.iter().any(name);
        }
        let (stem, choice) = (self.stem.to_ascii_lowercase(), choice.to_ascii_lowercase());
        let begins = |before: &str| before.is_empty() || before.ends_with(['-', '.', '/', '_']);
        let ends = |behind: &str| behind.is_empty() || behind.starts_with(['-', '.', '/']);
        let mut found = stem.match_indices(&choice);
        found.any(|(at, part)| begins(&stem[..at]) && ends(&stem[at + part.len()..]))
    }
}

/// The models among `paths`, by name; what goes with a model but is none is left out.
pub(super) fn models<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<ModelFiles> {
    let mut numbered: Vec<(String, usize, usize, &str)> = paths
        .into_iter()
        .filter(|path| is_model(path))
        .map(|path| {
            let stem = &path[..path.len() - ".gguf".len()];
            match part(stem) {
                Some((stem, number, parts)) => (stem.into(), parts, number, path),
                None => (stem.into(), 1, 1, path),
            }
        })
        .collect();
    numbered.sort();
    let mut models: Vec<ModelFiles> = Vec::new();
    for (stem, parts, _, path) in numbered {
        match models.last_mut() {
            Some(last) if last.stem == stem && last.parts == parts => last.files.push(path.into()),
            _ => models.push(ModelFiles { stem, files: vec![path.into()], parts }),
        }
    }
    models
}

/// The model that a quantisation or a file's name means, whole or not. Of several it is that with the shortest name, which is the plainest.
pub(super) fn meant<'a>(models: &'a [ModelFiles], choice: &str) -> Option<&'a ModelFiles> {
    let matching = models.iter().filter(|model| model.is_meant_by(choice));
    matching.min_by_key(|model| (model.stem.len(), &model.stem))
}

/// The model that `name` means.
///
/// # Errors
/// What there is to choose from.
pub(super) fn choose<'a>(models: &'a [ModelFiles], name: &Name) -> Result<&'a ModelFiles> {
    let found = match &name.choice {
        Some(choice) => meant(models, choice),
        None => PREFERRED.iter().find_map(|choice| meant(models, choice)).or(match models {
            [only] => Some(only),
            _ => None,
        }),
    };
    let Some(found) = found else { return Err(Error::Usage(nothing_meant(models, name))) };
    if !found.is_whole() {
        let (there, parts) = (found.files.len(), found.parts);
        return Err(Error::Model(format!(
            "{}: {} has {there} of its {parts} parts there",
            name.repo, found.stem
        )));
    }
    Ok(found)
}

fn nothing_meant(models: &[ModelFiles], name: &Name) -> String {
    let mut labels: Vec<String> = models.iter().map(ModelFiles::label).collect();
    labels.dedup();
    match (&name.choice, labels.is_empty()) {
        (_, true) => format!("{} holds no GGUF model", name.repo),
        (Some(choice), _) => format!("{} has no {choice}; it has {}", name.repo, labels.join(", ")),
        (None, _) => {
            let (first, all) = (&labels[0], labels.join(", "));
            format!("{} has several models; choose one, as in {0}:{first}, of {all}", name.repo)
        }
    }
}

/// Whether a path is that of a model; projectors of pictures and importance matrices are GGUF files, too.
fn is_model(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    name.len() > ".gguf".len()
        && name.ends_with(".gguf")
        && !name.contains("mmproj")
        && !name.contains("imatrix")
}

/// Splits `NAME-00002-of-00003` into name, number and count.
fn part(stem: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| (text.len() == 5).then(|| text.parse::<usize>().ok()).flatten();
    let (number, count) = (digits(number)?, digits(count)?);
    (1..=count).contains(&number).then_some((name, number, count))
}

/// `Q4_K_M`, `IQ1_S`, `TQ2_0`, `BF16`, `MXFP4`: how quantisations are called.
fn is_quantisation(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    if ["F16", "F32", "BF16", "FP16", "FP32"].contains(&word.as_str()) {
        return true;
    }
    let numbered =
        |kind: &str| word.strip_prefix(kind).is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
    ["Q", "IQ", "TQ", "MXFP", "NVFP"].into_iter().any(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 9] = [
        "README.md",
        "mmproj-F16.gguf",
        "M-Q8_0.gguf",
        "M-Q4_K_M.gguf",
        "M-UD-Q4_K_XL.gguf",
        "BF16/M-BF16-00002-of-00002.gguf",
        "BF16/M-BF16-00001-of-00002.gguf",
        "M-Q5_K_M-00001-of-00003.gguf",
        "imatrix.gguf",
    ];

    fn chosen(files: &[&str], choice: Option<&str>) -> Result<Vec<String>, String> {
        let name = Name { repo: "a/b".into(), choice: choice.map(str::to_owned) };
        choose(&models(files.iter().copied()), &name).map(|m| m.files.clone()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_model_is_chosen_by_its_quantisation_or_its_file() {
        let one = |choice: &str, file: &str| {
            assert_eq!(chosen(&FILES, Some(choice)), Ok(vec![file.into()]), "{choice}")
        };
        one("q8_0", "M-Q8_0.gguf");
        one("Q4_K_M", "M-Q4_K_M.gguf");
        one("Q4_K_XL", "M-UD-Q4_K_XL.gguf");
        one("UD-Q4_K_XL", "M-UD-Q4_K_XL.gguf");
        one("M-Q8_0.gguf", "M-Q8_0.gguf");
        let parts = [FILES[6], FILES[5]].map(str::to_owned).to_vec();
        assert_eq!(chosen(&FILES, Some("bf16")), Ok(parts));
        assert_eq!(chosen(&FILES, None), Ok(vec![FILES[3].into()]));
        assert_eq!(chosen(&["x.gguf", "c.json"], None), Ok(vec!["x.gguf".into()]));
        assert_eq!(chosen(&["x_q4_k_m.gguf", "x_q5_0.gguf"], None), Ok(vec!["x_q4_k_m.gguf".into()]));
    }

    #[test]
    fn what_is_not_there_is_an_error_that_says_what_is() {
        let error = chosen(&FILES, Some("Q4_K")).unwrap_err();
        assert_eq!(error, "a/b has no Q4_K; it has BF16, Q4_K_M, Q5_K_M, Q8_0, UD-Q4_K_XL");
        assert!(chosen(&FILES, Some("Q5_K_M")).unwrap_err().contains("1 of its 3 parts"));
        assert_eq!(chosen(&["a.md"], None).unwrap_err(), "a/b holds no GGUF model");
        let error = chosen(&["m-Q6_K.gguf", "m-F16.gguf"], None).unwrap_err();
        assert_eq!(error, "a/b has several models; choose one, as in a/b:F16, of F16, Q6_K");
    }
}
