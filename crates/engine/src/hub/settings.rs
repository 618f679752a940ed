//! Where the hub is, who asks, and where files are kept: from the environment, by the names that Hugging Face's tools use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

/// The hub that is asked unless `HF_ENDPOINT` names another.
pub const ENDPOINT: &str = "https://huggingface.co";

/// How to reach a hub and where its files are kept.
#[derive(Clone)]
pub struct Settings {
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// Sent to the hub and to no other host.
    pub token: Option<String>,
    /// The folder that holds a folder for each repository.
    pub cache: PathBuf,
    /// Whether to do with what is in the cache.
    pub offline: bool,
    /// How long to wait after a first failure; each further one in a row doubles it.
    pub patience: Duration,
    /// How long nothing may come before a connection counts as broken.
    pub stall: Duration,
}

impl Settings {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`, `HF_HUB_CACHE` and `HF_HUB_OFFLINE`. What is set to nothing is not
    /// set.
    ///
    /// # Errors
    /// An endpoint that is no address, a token that no header can carry, and no folder to keep files in.
    pub fn from_environment() -> Result<Settings> {
        Settings::from(|name| std::env::var_os(name))
    }

    fn from(variable: impl Fn(&str) -> Option<OsString>) -> Result<Settings> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| -> Result<Option<String>> {
            let not_text = |_| Error::Usage(format!("{name} is not UTF-8"));
            get(name).map(|value| value.into_string().map_err(not_text)).transpose()
        };
        let user = get("HOME").or_else(|| get("USERPROFILE")).map(PathBuf::from);
        let folder = |name: &str| get(name).map(|value| in_home(Path::new(&value), user.as_deref()));
        let home = folder("HF_HOME")
            .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| user.as_ref().map(|user| user.join(".cache/huggingface")));
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| home.as_ref().map(|home| home.join("hub")))
            .ok_or_else(|| {
                Error::Usage("there is no folder to keep models in: set HF_HOME or HOME".into())
            })?;

        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.into());
        let endpoint = endpoint.trim_end_matches('/').to_string();
        let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        if host.is_none_or(str::is_empty) {
            let what = format!("HF_ENDPOINT is {endpoint:?}, expected an address such as {ENDPOINT}");
            return Err(Error::Usage(what));
        }
        let mut token = text("HF_TOKEN")?;
        // A token that another tool keeps is for the hub that gave it out.
        if token.is_none() && endpoint == ENDPOINT {
            let path = folder("HF_TOKEN_PATH").or_else(|| home.map(|home| home.join("token")));
            token = path.and_then(|path| std::fs::read_to_string(path).ok());
        }
        let token = token.map(|token| token.trim().to_string()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Error::Usage(
                "HF_TOKEN holds what no token holds: spaces or control characters".into(),
            ));
        }
        let offline = text("HF_HUB_OFFLINE")?;
        let is_true = |value: String| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str());
        Ok(Settings {
            endpoint,
            token,
            cache,
            offline: offline.is_some_and(is_true),
            patience: Duration::from_secs(1),
            stall: Duration::from_secs(30),
        })
    }
}

/// A path whose `~` is the user's own folder.
fn in_home(path: &Path, user: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), user) {
        (Ok(rest), Some(user)) => user.join(rest),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::from(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_cache_is_where_other_tools_have_it() {
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[("HOME", "/h")], "/h/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/y")], "/h/y/hub"),
            (&[("HF_HOME", "/y"), ("HF_HUB_CACHE", "/z")], "/z"),
            (&[("HOME", "/h"), ("HF_HUB_CACHE", "")], "/h/.cache/huggingface/hub"),
        ];
        for (variables, expected) in cases {
            assert_eq!(settings(variables).unwrap().cache, Path::new(expected), "{variables:?}");
        }
        assert!(settings(&[]).is_err());
    }

    #[test]
    fn endpoint_token_and_offline_are_read() {
        let home = ("HOME", "/nowhere");
        let plain = settings(&[home, ("HF_ENDPOINT", "")]).unwrap();
        assert_eq!((plain.endpoint.as_str(), plain.token, plain.offline), (ENDPOINT, None, false));
        let all = [home, ("HF_ENDPOINT", "http://x:1/"), ("HF_TOKEN", " t\n"), ("HF_HUB_OFFLINE", "YES")];
        let all = settings(&all).unwrap();
        assert_eq!(
            (all.endpoint.as_str(), all.token.as_deref(), all.offline),
            ("http://x:1", Some("t"), true)
        );
        assert!(!settings(&[home, ("HF_HUB_OFFLINE", "0")]).unwrap().offline);
        for wrong in
            [("HF_ENDPOINT", "huggingface.co"), ("HF_ENDPOINT", "https://"), ("HF_TOKEN", "a\r\nb: c")]
        {
            let error = settings(&[home, wrong]).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(wrong.0) && !error.contains("b: c"), "{error}");
        }
    }
}
