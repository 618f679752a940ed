//! An answer as a list of blocks, thoughts, texts and calls, of which one at a time is open: the form of `/v1/responses` and `/v1/messages`.

use super::failure::Failure;
use super::generation::{Generation, Part, Reason};

/// A stretch of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    Reasoning(String),
    Text(String),
    Call { id: String, name: String, arguments: String },
}

/// What a part of an answer does to its blocks; numbers are those of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Begin(usize),
    /// So much more of it.
    More(usize, String),
    End(usize),
}

/// The blocks so far.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    pub all: Vec<Block>,
    open: bool,
    pub reason: Option<Reason>,
}

impl Blocks {
    /// Everything that an answer of one choice has.
    pub async fn whole(generation: &mut Generation<'_>) -> Result<Blocks, Failure> {
        let mut blocks = Blocks::default();
        while let Some((_, part)) = generation.next().await? {
            blocks.push(part);
        }
        Ok(blocks)
    }

    /// Takes a part, and tells what it does.
    pub fn push(&mut self, part: Part) -> Vec<Change> {
        let mut changes = Vec::new();
        let last = self.all.last_mut().filter(|_| self.open);
        let more = match (last, part) {
            (Some(Block::Reasoning(all)), Part::Reasoning(more))
            | (Some(Block::Text(all)), Part::Text(more)) => {
                *all += &more;
                more
            }
            (Some(Block::Call { arguments, .. }), Part::Arguments { text, .. }) => {
                *arguments += &text;
                text
            }
            (_, Part::Logprob(_) | Part::Arguments { .. }) => return changes,
            (_, Part::Finished(reason)) => {
                self.reason = Some(reason);
                changes.extend(self.close());
                return changes;
            }
            (_, part) => {
                changes.extend(self.close());
                let (block, more) = match part {
                    Part::Reasoning(text) => (Block::Reasoning(text.clone()), text),
                    Part::Call { id, name, .. } => {
                        (Block::Call { id, name, arguments: String::new() }, String::new())
                    }
                    Part::Text(text) => (Block::Text(text.clone()), text),
                    Part::Logprob(_) | Part::Arguments { .. } | Part::Finished(_) => return changes,
                };
                self.all.push(block);
                self.open = true;
                changes.push(Change::Begin(self.all.len() - 1));
                more
            }
        };
        if !more.is_empty() {
            changes.push(Change::More(self.all.len() - 1, more));
        }
        changes
    }

    fn close(&mut self) -> Option<Change> {
        std::mem::take(&mut self.open).then(|| Change::End(self.all.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_is_open_at_a_time() {
        let mut blocks = Blocks::default();
        let call = |index| Part::Call { index, id: "c".into(), name: "f".into() };
        let parts = vec![
            Part::Reasoning("a".into()),
            Part::Reasoning("b".into()),
            Part::Text("c".into()),
            call(0),
            Part::Arguments { index: 0, text: "{}".into() },
            call(1),
            Part::Finished(Reason::Calls),
        ];
        let changes: Vec<Change> = parts.into_iter().flat_map(|part| blocks.push(part)).collect();
        use Change::{Begin, End, More};
        let more = |n, text: &str| More(n, text.into());
        assert_eq!(
            changes,
            [
                Begin(0),
                more(0, "a"),
                more(0, "b"),
                End(0),
                Begin(1),
                more(1, "c"),
                End(1),
                Begin(2),
                more(2, "{}"),
                End(2),
                Begin(3),
                End(3)
            ]
        );
        assert_eq!(blocks.all[0], Block::Reasoning("ab".into()));
        assert_eq!(blocks.reason, Some(Reason::Calls));
    }
}
