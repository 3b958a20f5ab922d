//! Who is at work: the variables by which coding agents make themselves known to the programs they start.
//! A marker raises the bar of what destroys data; none lowers it.

/// Variables that agents set, with the agent's name where the variable does not say it itself.
const MARKERS: [&str; 13] = [
    "LYROX_AGENT",
    "AI_AGENT",
    "CLAUDECODE",
    "CLAUDE_CODE",
    "CURSOR_AGENT",
    "GEMINI_CLI",
    "CODEX_SANDBOX",
    "CODEX_SANDBOX_NETWORK_DISABLED",
    "OPENCODE",
    "CLINE_ACTIVE",
    "AUGMENT_AGENT",
    "COPILOT_AGENT",
    "GOOSE_TERMINAL",
];

/// The variable by which an agent shows that it runs this process; none where a person or a pipeline does.
pub fn agent() -> Option<&'static str> {
    let is_set = |name: &&'static str| {
        std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0" && value != "false")
    };
    MARKERS.into_iter().find(is_set)
}
