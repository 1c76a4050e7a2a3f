//! What nodes said for people: the same text of several nodes once.

use super::{
    super::ask::{Answers, names},
    Shown,
};

/// Each text below the nodes that said it.
pub(super) fn show(answers: &Answers) -> Shown {
    let mut texts: Vec<(Vec<&str>, &str)> = Vec::new();
    for answer in &answers.answers {
        let text = answer.value.as_str().unwrap_or_default();
        match texts.iter_mut().find(|(_, known)| *known == text) {
            Some((nodes, _)) => nodes.push(&answer.node),
            None => texts.push((vec![&answer.node], text)),
        }
    }
    let of = answers.answers.len();
    let part = |(nodes, text): &(Vec<&str>, &str)| format!("NODE {}\n{}\n", names(nodes, of), text.trim_end());
    Shown { text: texts.iter().map(part).collect::<Vec<_>>().join("\n"), is_well: true }
}
