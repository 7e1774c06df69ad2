//! How long the program may take to end, which whoever stops it must wait for.

use std::time::Duration;

use biometric_bridge::settings::{Inputs, Loaded, Settings};
use serde_json::Value;

use crate::support::{read, root};

/// How long an end may take after `shutdown.deadline`, as the program has it.
fn rest() -> Duration {
    let seconds = |file: &str, before: &str| {
        let text = read(&root().join(file));
        let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{file}: {before}"));
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        number.parse::<u64>().expect("a number")
    };
    let constant = |name: &str| format!("const {name}: Duration = Duration::from_secs(");
    let all = [
        seconds("src/app.rs", &constant("RELAYED")),
        seconds("src/push.rs", &constant("CLOSING")),
        seconds("src/http.rs", ".shutdown_timeout("),
        seconds("src/app/audit.rs", &constant("LAST")) * 2,
        seconds("src/app.rs", &constant("CLOSING")),
        seconds("src/telemetry/traces.rs", &constant("LAST")),
    ];
    Duration::from_secs(all.iter().sum())
}

/// How long an end may take with these settings.
pub(super) fn of(settings: &Settings) -> Duration {
    // Whoever follows somebody is given 8 s, and the rows of that their time.
    settings.shutdown.deadline.max(Duration::from_secs(12)) + rest()
}

/// How long it may take with these variables, each with its value.
pub(super) fn with(environment: &Value) -> Duration {
    let variables = environment.as_object().into_iter().flatten();
    let variables = variables.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    let (loaded, _) = Loaded::despite_faults(&Inputs::of_environment(variables));
    of(&loaded.settings)
}

#[test]
fn the_operators_guide_says_how_long_an_end_may_take() {
    let guide = read(&root().join("docs/deployment.md"));
    let said = format!("then up to {} s more", rest().as_secs());
    assert!(guide.contains(&said), "docs/deployment.md does not say {said:?}");
}
