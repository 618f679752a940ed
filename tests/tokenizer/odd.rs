//! Vocabularies as files in the wild have them, against the rules: what can be honoured is, and what cannot change the
//! result stops nobody.

use libtest_mimic::Trial;
use wgllm::tokenizer::Tokenizer;

use super::small::Key::{Bool, F32s, I32s, Raw, Raws, Text, Texts, U32};
use super::small::{CONTROL, Keys, NORMAL, USER_DEFINED, gpt2, llama, open, with, without};
use super::{Outcome, PROMPT, TEMPLATE, USER, same};

type Fact = (&'static str, fn() -> Outcome);

/// Every fact.
pub fn trials() -> Vec<Trial> {
    let facts: [Fact; 12] = [
        ("a name that is not UTF-8 stops nobody", names_are_for_people),
        ("a token that is not UTF-8 is printed as its bytes", tokens_are_bytes),
        ("without scores all tokens are alike", scores_may_be_missing),
        ("scores may be whole numbers", scores_may_be_whole),
        ("arrays may be longer than the vocabulary", arrays_may_be_long),
        ("without kinds bytes and special tokens are told by texts and ids", kinds_may_be_missing),
        ("ids that say nothing about texts stop nobody", useless_ids_are_useless),
        ("user-defined tokens come first, also without special parsing", user_defined_come_first),
        ("gemma4 merges characters and takes lines whole", gemma4),
        ("gemma4 adds BOS even where the file says no, and goes on at </s>", gemma4_roles),
        ("every known pre-tokenizer opens", every_pre_opens),
        ("README tells how many pre-tokenizers there are", readme_is_current),
    ];
    facts.map(|(name, fact)| Trial::test(name, fact)).into()
}

fn tokenizer(keys: &Keys) -> Result<Tokenizer, libtest_mimic::Failed> {
    open(keys)?.ok_or_else(|| "no tokenizer".into())
}

fn abc() -> Keys {
    llama(&[("▁", -3.0, NORMAL), ("a", -4.0, NORMAL), ("▁a", -2.0, NORMAL), ("aa", -1.0, NORMAL)])
}

fn names_are_for_people() -> Outcome {
    for keys in [abc(), gpt2(&["a b"], &[])] {
        let plain = tokenizer(&keys)?.encode("a a", PROMPT)?;
        let name = ("general.name", Raw(b"Mod\xe8le fran\xe7ais phi"));
        same("ids", tokenizer(&with(keys.clone(), &[name]))?.encode("a a", PROMPT)?, plain.clone())?;
        same("ids", tokenizer(&with(keys, &[("general.name", U32(3))]))?.encode("a a", PROMPT)?, plain)?;
    }
    // The name of the pre-tokenizer means nothing in a vocabulary that has none.
    same("ids", tokenizer(&with(abc(), &[("pre", Raw(b"\xff"))]))?.encode("a", USER)?, vec![261])
}

fn tokens_are_bytes() -> Outcome {
    let raws = |keys: &Keys, more: &[u8]| match keys.get("tokens") {
        Some(Texts(texts)) => {
            let mut raws: Vec<Vec<u8>> = texts.iter().map(|text| text.clone().into_bytes()).collect();
            raws.push(more.into());
            Raws(raws)
        }
        _ => Raws(Vec::new()),
    };
    let mut keys = abc();
    let tokens = raws(&keys, b"\xff\xe2\x96\x81\xfe");
    let mut kinds = vec![2, CONTROL, CONTROL];
    kinds.resize(259, 6);
    kinds.resize(264, NORMAL);
    keys = with(keys, &[("tokens", tokens), ("scores", F32s(vec![-1.0; 264])), ("token_type", I32s(kinds))]);
    let spm = tokenizer(&keys)?;
    same("decoded", spm.decode(&[260, 263, 260]), "a\u{FFFD} \u{FFFD}a".to_owned())?;
    same("encoded", spm.encode("é", USER)?, vec![259, 3 + 0xC3, 3 + 0xA9])?;

    // User-defined, it would be found in the middle of a character.
    let keys = gpt2(&[], &[]);
    let mut kinds = vec![NORMAL; 256];
    kinds.push(USER_DEFINED);
    let bpe =
        tokenizer(&with(keys.clone(), &[("tokens", raws(&keys, b"\xa9")), ("token_type", I32s(kinds))]))?;
    same("encoded", bpe.encode("é", USER)?, vec![0xC3, 0xA9])?;
    let mut stream = bpe.stream();
    same("streamed", (stream.push(0xC3), stream.push(256)), (String::new(), "é".to_owned()))
}

fn scores_may_be_missing() -> Outcome {
    let spm = tokenizer(&without(abc(), "scores"))?;
    same("warned", spm.warnings().concat().contains("tokenizer.ggml.scores"), true)?;
    // All are alike, so that the leftmost pair merges first.
    same("ids", spm.encode("aaa", USER)?, vec![261, 262])
}

fn scores_may_be_whole() -> Outcome {
    let mut scores = vec![0; 259];
    scores.extend([-3, -4, -2, -1]);
    let spm = tokenizer(&with(abc(), &[("scores", I32s(scores))]))?;
    same("ids", spm.encode("aaa", USER)?, tokenizer(&abc())?.encode("aaa", USER)?)
}

fn arrays_may_be_long() -> Outcome {
    let mut kinds = vec![2, CONTROL, CONTROL];
    kinds.resize(259, 6);
    kinds.resize(263, NORMAL);
    kinds.extend([99; 5]);
    let mut scores = vec![0.0; 259];
    scores.extend([-3.0, -4.0, -2.0, -1.0]);
    scores.extend([f32::NAN; 5]);
    let spm = tokenizer(&with(abc(), &[("scores", F32s(scores)), ("token_type", I32s(kinds))]))?;
    same("ids", spm.encode("aaa", USER)?, tokenizer(&abc())?.encode("aaa", USER)?)
}

fn kinds_may_be_missing() -> Outcome {
    let spm = tokenizer(&without(abc(), "token_type"))?;
    same("warned", spm.warnings().concat().contains("tokenizer.ggml.token_type"), true)?;
    let stated = tokenizer(&abc())?;
    for text in ["aaa é\n", "<s> </s> <unk> <0x0A>"] {
        same(text, spm.encode(text, TEMPLATE)?, stated.encode(text, TEMPLATE)?)?;
        same(text, spm.decode(&spm.encode(text, PROMPT)?), text.to_owned())?;
    }
    let bpe = tokenizer(&without(gpt2(&["a b"], &[]), "token_type"))?;
    same("ids", bpe.encode("ab", USER)?, vec![256])
}

fn useless_ids_are_useless() -> Outcome {
    for key in ["fim_pre_token_id", "fim_pad_token_id", "padding_token_id", "mask_token_id"] {
        for value in [U32(u32::MAX), Text("none"), Bool(true)] {
            let bpe = tokenizer(&with(gpt2(&["a b"], &[]), &[(key, value)]))?;
            same(key, bpe.encode("ab", USER)?, vec![256])?;
        }
    }
    let bpe = tokenizer(&with(gpt2(&["a b"], &[]), &[("unknown_token_id", U32(u32::MAX))]))?;
    same("unknown", bpe.encode("ab", USER)?, vec![256])?;
    same(
        "a space",
        tokenizer(&with(gpt2(&[], &[]), &[("add_space_prefix", U32(7))]))?.encode("a", USER)?,
        vec![97],
    )
}

fn user_defined_come_first() -> Outcome {
    let keys = llama(&[
        ("▁", -3.0, NORMAL),
        ("a", -4.0, NORMAL),
        ("▁▁", -2.0, NORMAL),
        ("  ", 0.0, USER_DEFINED),
        ("   ", 0.0, USER_DEFINED),
        ("\n\n", 0.0, USER_DEFINED),
        ("<h1>", 0.0, USER_DEFINED),
        ("<end_of_turn>", 0.0, CONTROL),
    ]);
    let spm = tokenizer(&with(keys, &[("add_space_prefix", Bool(false))]))?;
    same("spaces", spm.encode("a     a a", USER)?, vec![260, 263, 262, 260, 259, 260])?;
    same("tags and lines", spm.encode("<h1>\n\n\na", USER)?, vec![265, 264, 3 + 10, 260])?;
    same("control", spm.encode("<end_of_turn>", USER)?.len(), 13)?;
    same("control", spm.encode("<end_of_turn>", TEMPLATE)?, vec![1, 266])?;
    same("back", spm.decode(&[260, 263, 264, 265, 266, 260]), "a   \n\n<h1>a".to_owned())
}

/// Ids: 0 `<bos>`, 1 `<eos>`, 2 to 257 bytes, then these.
fn characters(model: &'static str, pre: &'static str) -> Keys {
    let texts = ["▁", "a", "b", "\n", "\n\n", "▁a", "▁ab", "</s>", "<|tool_response>", "\n\n\n"];
    let mut tokens: Vec<String> = vec!["<bos>".into(), "<eos>".into()];
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![CONTROL, CONTROL];
    kinds.resize(258, 6);
    kinds.extend([NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, CONTROL, NORMAL]);
    tokens.extend(texts.map(String::from));
    Keys::from([
        ("model", Text(model)),
        ("pre", Text(pre)),
        ("tokens", Texts(tokens)),
        ("token_type", I32s(kinds)),
        ("merges", Texts(vec!["▁ a".into(), "▁a b".into()])),
        ("bos_token_id", U32(0)),
        ("eos_token_id", U32(1)),
    ])
}

fn gemma4() -> Outcome {
    for (model, pre) in [("gemma4", "anything"), ("gpt2", "gemma4")] {
        let gemma = tokenizer(&characters(model, pre))?;
        same("words", gemma.encode("ab ab", USER)?, vec![259, 260, 264])?;
        same("lines", gemma.encode("a\n\nb\n\n\n\n", USER)?, vec![259, 262, 260, 261, 261, 261, 261])?;
        same("bytes", gemma.encode(" é", USER)?, vec![258, 2 + 0xC3, 2 + 0xA9])?;
        same("back", gemma.decode(&gemma.encode("ab é\n\n a", PROMPT)?), "ab é\n\n a".to_owned())?;
    }
    // Sarvam's vocabulary is of this kind too, but its lines are merged like words.
    same("lines", tokenizer(&characters("gpt2", "sarvam-moe"))?.encode("\n\n", USER)?, vec![261, 261])
}

fn gemma4_roles() -> Outcome {
    let gemma = tokenizer(&with(characters("gemma4", ""), &[("add_bos_token", Bool(false))]))?;
    same("BOS", gemma.encode("a", PROMPT)?, vec![0, 259])?;
    same("warned", gemma.warnings().concat().contains("add_bos_token"), true)?;
    same("ends", gemma.end_tokens().iter().copied().collect::<Vec<_>>(), vec![1, 266])?;
    same("a tag", gemma.decode(&gemma.encode("</s>", TEMPLATE)?), "</s>".to_owned())?;
    same("control", (gemma.control_text(1), gemma.control_text(259)), (Some("<eos>"), None))
}

fn every_pre_opens() -> Outcome {
    for pre in Tokenizer::known_pres() {
        let keys = with(characters("gpt2", ""), &[("pre", Text(pre))]);
        let keys = match ["gemma4", "granite-embed-multi-311m", "sarvam-moe"].contains(&pre) {
            true => keys,
            false => {
                with(gpt2(&["a b"], &[("<s>", CONTROL)]), &[("pre", Text(pre)), ("bos_token_id", U32(257))])
            }
        };
        let known = tokenizer(&keys)?;
        let text = "ab 12345 It's\n\n  ½ 想か é";
        same(pre, &*known.decode(&known.encode(text, PROMPT)?), text)?;
    }
    Ok(())
}

fn readme_is_current() -> Outcome {
    let said = format!("`gpt2` with {} names of `tokenizer.ggml.pre`", Tokenizer::known_pres().count());
    same(&said, include_str!("../../README.md").contains(&said), true)
}
