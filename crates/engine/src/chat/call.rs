//! How models write that they call a tool, and the reading of one call while it comes.

use serde_json::Value;

/// A way to write calls of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFormat {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, once for each call: Hermes, Qwen and many more.
    Hermes,
    /// The answer is `{"name": …, "parameters": {…}}`, several apart by `;`; perhaps behind `<|python_tag|>`: Llama 3.
    Llama3,
    /// `[TOOL_CALLS]` and a list of objects, or a name, `[ARGS]` and an object: Mistral.
    Mistral,
    /// A message in the channel of commentary to a function, whose content is the object: gpt-oss (`harmony`).
    Harmony,
}

impl CallFormat {
    /// The format that a template asks for, by what it writes around calls.
    pub fn of_template(text: &str) -> Option<CallFormat> {
        if text.contains("<|channel|>commentary") {
            return Some(CallFormat::Harmony);
        }
        let formats = [CallFormat::Hermes, CallFormat::Mistral, CallFormat::Llama3];
        formats.into_iter().find(|format| text.contains(format.opening()))
    }

    /// What stands in front of a call.
    pub fn opening(self) -> &'static str {
        match self {
            CallFormat::Hermes => "<tool_call>",
            CallFormat::Llama3 => "<|python_tag|>",
            CallFormat::Mistral => "[TOOL_CALLS]",
            CallFormat::Harmony => "<|channel|>commentary to=functions.",
        }
    }

    /// What stands behind it.
    pub fn closing(self) -> Option<&'static str> {
        (self == CallFormat::Hermes).then_some("</tool_call>")
    }

    /// The texts of control tokens that a call is made of: they print nothing elsewhere.
    pub fn markup(self) -> &'static [&'static str] {
        match self {
            CallFormat::Hermes => &["<tool_call>", "</tool_call>"],
            CallFormat::Llama3 => &["<|python_tag|>"],
            CallFormat::Mistral => &["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
            // `harmony` makes texts of them.
            CallFormat::Harmony => &[],
        }
    }
}

/// What came of a character of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Nothing that can be told yet.
    More,
    /// The call has this name.
    Name(String),
    /// More of the text of its arguments.
    Arguments(String),
    /// This character ends the call.
    End,
    /// This is no call.
    NoCall,
}

/// Reads one call, character by character.
#[derive(Debug)]
pub(super) struct CallReader {
    /// Everything that was read, for when it turns out to be no call.
    pub raw: String,
    state: State,
    key: String,
    value: Nested,
    /// The text of the value that is read, where it is not told at once.
    text: String,
    named: bool,
    /// Arguments that came before the name.
    early: String,
    argued: bool,
    bare: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In front of the object.
    Before,
    /// A name in front of the object of arguments.
    BareName,
    /// Between two members.
    Members,
    Key,
    Colon,
    ValueBegins,
    Value,
}

/// How deep a value is at what was read last.
#[derive(Clone, Copy, Debug, Default)]
struct Nested {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Neither a text nor a list nor an object.
    plain: bool,
    /// A text.
    string: bool,
}

impl Nested {
    /// Takes a character; true where the value ends with it.
    fn push(&mut self, c: char) -> bool {
        if self.in_string {
            match (self.escaped, c) {
                (true, _) => self.escaped = false,
                (false, '\\') => self.escaped = true,
                (false, '"') => self.in_string = false,
                _ => {}
            }
        } else {
            match c {
                '"' => self.in_string = true,
                '{' | '[' => self.depth += 1,
                '}' | ']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.depth == 0 && !self.in_string && !self.plain
    }
}

impl CallReader {
    /// A call that is an object with a name and arguments, or, where `bare`, a name and then an object.
    pub fn new(bare: bool) -> CallReader {
        CallReader {
            raw: String::new(),
            state: if bare { State::BareName } else { State::Before },
            key: String::new(),
            value: Nested::default(),
            text: String::new(),
            named: false,
            early: String::new(),
            argued: false,
            bare,
        }
    }

    /// Whether it is a name and then an object.
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// Whether the name was told, so that this is a call for good.
    pub fn named(&self) -> bool {
        self.named
    }

    /// Takes a character, and tells what came of it, in order.
    pub fn push(&mut self, c: char, tell: &mut dyn FnMut(Read)) {
        self.raw.push(c);
        let read = match self.state {
            State::Before if c.is_whitespace() => Read::More,
            State::Before if c == '{' => self.go(State::Members),
            State::Before => Read::NoCall,
            State::BareName => return self.bare_name(c, tell),
            State::Members if c.is_whitespace() || c == ',' => Read::More,
            State::Members if c == '"' => {
                self.text.clear();
                self.value = Nested::default();
                self.value.push(c);
                self.text.push(c);
                self.go(State::Key)
            }
            State::Members if c == '}' && self.named => {
                if !self.argued {
                    tell(Read::Arguments("{}".into()));
                }
                Read::End
            }
            State::Members => Read::NoCall,
            State::Key => {
                self.text.push(c);
                match self.value.push(c) {
                    true => match serde_json::from_str(&self.text) {
                        Ok(key) => {
                            self.key = key;
                            self.go(State::Colon)
                        }
                        Err(_) => Read::NoCall,
                    },
                    false => Read::More,
                }
            }
            State::Colon if c.is_whitespace() => Read::More,
            State::Colon if c == ':' => self.go(State::ValueBegins),
            State::Colon => Read::NoCall,
            State::ValueBegins if c.is_whitespace() => Read::More,
            State::ValueBegins => {
                self.text.clear();
                self.value =
                    Nested { plain: !matches!(c, '"' | '{' | '['), string: c == '"', ..Nested::default() };
                self.state = State::Value;
                return self.value_char(c, tell);
            }
            State::Value if self.value.plain && (c.is_whitespace() || matches!(c, ',' | '}')) => {
                self.value_ends(tell);
                // The character belongs to what is behind the value.
                self.raw.pop();
                return self.push(c, tell);
            }
            State::Value => return self.value_char(c, tell),
        };
        tell(read);
    }

    fn go(&mut self, state: State) -> Read {
        self.state = state;
        Read::More
    }

    /// A name that ends where a mark or the object of arguments begins.
    fn bare_name(&mut self, c: char, tell: &mut dyn FnMut(Read)) {
        if c != '{' {
            self.text.push(c);
            return;
        }
        let text = std::mem::take(&mut self.text);
        let name = text.split(['[', '<']).next().unwrap_or_default().trim().to_owned();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '"') {
            return tell(Read::NoCall);
        }
        self.named = true;
        tell(Read::Name(name));
        self.key = "arguments".into();
        self.value = Nested::default();
        self.state = State::Value;
        self.value_char(c, tell);
    }

    fn is_arguments(&self) -> bool {
        matches!(&*self.key, "arguments" | "parameters")
    }

    fn value_char(&mut self, c: char, tell: &mut dyn FnMut(Read)) {
        let ends = self.value.push(c);
        if self.is_arguments() && !self.value.string && !self.value.plain {
            self.argue(c.into(), tell);
        } else {
            self.text.push(c);
        }
        if ends {
            self.value_ends(tell);
            if self.bare {
                tell(Read::End);
            }
        }
    }

    fn value_ends(&mut self, tell: &mut dyn FnMut(Read)) {
        let text = std::mem::take(&mut self.text);
        self.state = State::Members;
        if self.key == "name" && !self.named {
            let Ok(Value::String(name)) = serde_json::from_str(&text) else { return tell(Read::NoCall) };
            self.named = true;
            tell(Read::Name(name));
            let early = std::mem::take(&mut self.early);
            if !early.is_empty() {
                tell(Read::Arguments(early));
            }
        } else if self.is_arguments() && !text.is_empty() {
            // Arguments that are a text of JSON, or null.
            let text = match serde_json::from_str(&text) {
                Ok(Value::String(text)) => text,
                Ok(Value::Null) => "{}".into(),
                _ => text,
            };
            self.argue(text, tell);
        }
    }

    fn argue(&mut self, text: String, tell: &mut dyn FnMut(Read)) {
        self.argued = true;
        match self.named {
            true => tell(Read::Arguments(text)),
            false => self.early.push_str(&text),
        }
    }
}
