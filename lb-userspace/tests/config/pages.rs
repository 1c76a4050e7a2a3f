//! Completions, manual pages, and help with examples for every command.

use std::fs;

use clap::{Command, CommandFactory};
use lb_userspace::cli::{Cli, Plugin};

use super::Place;

#[test]
fn every_shell_has_completions_of_all_commands() {
    let place = Place::new("");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = place.limpet(&[], &format!("completion {shell}"));
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{shell}");
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(said.stdout.contains(command.get_name()), "{shell}: {}", command.get_name());
        }
        assert!(said.stdout.contains("max-flows"), "{shell}");
    }
    let said = place.limpet(&[], "completion csh");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("bash"), "{said:?}");
}

#[test]
fn there_is_a_manual_page_of_every_command() {
    let place = Place::new("");
    let said = place.limpet(&[], "man");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains(".TH limpet 1"), "{}", said.stdout);

    let said = place.limpet(&[], "man pages/man1");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let names: Vec<String> = fs::read_dir(place.path().join("pages/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for expected in ["limpet.1", "limpet-agent.1", "limpet-get-services.1", "kubectl-limpet.1", "kubectl-limpet-why.1"]
    {
        assert!(names.iter().any(|name| name == expected), "{expected}: {names:?}");
    }
    assert_eq!(said.stdout.lines().count(), names.len());
    let page = fs::read_to_string(place.path().join("pages/man1/limpet-agent.1")).unwrap();
    for part in [".TH limpet-agent 1", "LIMPET_MAX_FLOWS", "Examples:"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let said = place.limpet(&[], &format!("man {}/x", super::FILE));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("cannot make limpet.yaml/x"), "{said:?}");
}

#[test]
fn every_command_has_examples() {
    fn check(command: &Command, name: &str) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Examples:"), "{name}: {help}");
        for below in command.get_subcommands() {
            check(below, &format!("{name} {}", below.get_name()));
        }
    }
    check(&Cli::command(), "limpet");
    check(&Plugin::command(), "kubectl limpet");
}

#[test]
fn help_says_what_is_required_and_how_to_say_it() {
    let said = Place::new("").limpet(&[], "agent --help");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("Usage: limpet agent [OPTIONS] --node <NAME>"), "{}", said.stdout);
    let examples = said.stdout.split_once("Examples:").unwrap().1;
    let first = examples.lines().find(|line| !line.is_empty()).unwrap();
    assert!(first.contains("limpet agent --node node-1") && !first.contains("dir:"), "{first}");
}
