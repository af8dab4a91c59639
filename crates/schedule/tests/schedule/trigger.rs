use std::time::Duration;

use millrace_schedule::{
    DEFAULT_JITTER_WINDOW, DstPolicy, JitterWindow, MisfirePolicy, OverlapPolicy, TriggerSchedule,
    TriggerTiming,
};
use serde_json::{Value, json};

use crate::at;

fn read(trigger: &Value) -> TriggerSchedule {
    TriggerSchedule::parse(trigger, "/triggers/0").unwrap()
}

fn faults(trigger: &Value) -> Vec<(String, String)> {
    TriggerSchedule::parse(trigger, "/triggers/0")
        .unwrap_err()
        .into_iter()
        .map(|finding| (finding.pointer, finding.message))
        .collect()
}

#[test]
fn the_shapes_of_the_design_are_read() {
    let trigger = read(&json!({
        "type": "cron", "name": "nightly", "enabled": true, "cron": "0 2 * * *",
        "timezone": "Europe/Berlin", "jitterWindow": "10%", "misfire": {"all": {"max": 60}},
        "overlap": "queue", "dst": "nextValid", "startAt": "2026-01-01T00:00:00Z",
        "endAt": "2027-01-01T00:00:00Z", "startDeadline": "PT1M", "catchUpRate": 5
    }));
    let TriggerTiming::Cron(cron) = &trigger.timing else {
        panic!()
    };
    assert_eq!(
        (cron.zone.name(), cron.dst),
        ("Europe/Berlin", DstPolicy::NextValid)
    );
    assert_eq!(trigger.jitter_window, JitterWindow::Percent(10));
    assert_eq!(trigger.misfire, MisfirePolicy::All { max: 60 });
    assert_eq!(trigger.overlap, OverlapPolicy::Queue);
    assert_eq!(trigger.start_deadline, Duration::from_mins(1));
    assert_eq!(trigger.catch_up_rate, 5);
    let schedule = trigger.schedule(at("2020-01-01T00:00:00Z"));
    let first = schedule.next_after(at("2020-01-01T00:00:00Z"));
    assert_eq!(first, Some(at("2026-01-01T01:00:00Z")));
}

#[test]
fn defaults_are_those_of_the_design() {
    let cron = read(&json!({"type": "cron", "cron": "0 2 * * *"}));
    assert_eq!(cron.jitter_window, DEFAULT_JITTER_WINDOW);
    assert_eq!(
        (cron.misfire, cron.overlap),
        (MisfirePolicy::Last, OverlapPolicy::Skip)
    );
    assert_eq!(cron.start_deadline, Duration::from_secs(30));
    assert_eq!(cron.catch_up_rate, 10);
    let TriggerTiming::Cron(timing) = cron.timing else {
        panic!()
    };
    assert_eq!((timing.zone.name(), timing.dst), ("UTC", DstPolicy::Once));
}

#[test]
fn an_interval_may_go_by_the_end_of_its_runs() {
    let written = json!({"type": "interval", "name": "again", "enabled": true, "after": "PT10M"});
    let trigger = read(&written);
    let after = Duration::from_mins(10);
    assert_eq!(trigger.timing, TriggerTiming::After { after });
    let json = trigger.to_json();
    assert_eq!(json, json!({"type": "interval", "after": "PT600S"}));
    assert_eq!(read(&json), trigger);
    let deployed = at("2026-12-01T09:00:00Z");
    let schedule = trigger.schedule(deployed);
    let first = schedule.next_after(deployed);
    assert_eq!(first, Some(at("2026-12-01T09:10:00Z")));
    assert_eq!(schedule.next_after(first.unwrap()), None);
    for (wrong, place) in [
        (
            json!({"type": "interval", "after": "PT0.5S"}),
            "/triggers/0/after",
        ),
        (
            json!({"type": "interval", "after": "PT1S", "every": "PT1S"}),
            "/triggers/0/every",
        ),
        (
            json!({"type": "interval", "after": "PT1S", "overlap": "skip"}),
            "/triggers/0/overlap",
        ),
    ] {
        let found = faults(&wrong);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, place);
    }
}

#[test]
fn an_interval_counts_from_the_deployment_or_its_own_start() {
    let deployed = at("2026-12-01T09:07:03Z");
    let schedule = read(&json!({"type": "interval", "every": "PT15M"})).schedule(deployed);
    assert_eq!(
        schedule.next_after(deployed),
        Some(at("2026-12-01T09:22:03Z"))
    );
    let trigger = json!({"type": "interval", "every": "PT15M", "startAt": "2026-12-02T00:00:00Z"});
    let schedule = read(&trigger).schedule(deployed);
    assert_eq!(
        schedule.next_after(deployed),
        Some(at("2026-12-02T00:00:00Z"))
    );
}

#[test]
fn a_single_moment_is_kept_to_the_second() {
    let trigger = read(&json!({"type": "once", "at": "2026-12-01T10:00:00+01:00"}));
    let schedule = trigger.schedule(at("2026-01-01T00:00:00Z"));
    let nominal = schedule.next_after(at("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(nominal, at("2026-12-01T09:00:00Z"));
    assert_eq!(
        trigger.jitter("wfl_any").effective(&schedule, nominal),
        nominal
    );
    assert_eq!(schedule.next_after(nominal), None);
}

#[test]
fn all_faults_are_found_at_once_and_at_their_places() {
    let found = faults(&json!({
        "type": "cron", "cron": "0 25 * * *", "timezone": "Europe/Berln", "jitterWindow": "5m",
        "misfire": {"all": {"max": 0}}, "overlap": "maybe", "dst": 3, "startAt": "tomorrow",
        "startDeadline": "PT0S", "catchUpRate": 0, "cronn": "x"
    }));
    for (pointer, message) in [
        ("/triggers/0/cronn", "unknown member"),
        ("/triggers/0/cron", "hour `25` (character 3)"),
        ("/triggers/0/timezone", "did you mean `Europe/Berlin`?"),
        ("/triggers/0/dst", "must be a string"),
        ("/triggers/0/startAt", "RFC 3339"),
        ("/triggers/0/jitterWindow", "ISO 8601"),
        ("/triggers/0/misfire/all/max", "1 to 10000"),
        ("/triggers/0/overlap", "allow, skip, queue, cancel"),
        ("/triggers/0/startDeadline", "at least one second"),
        ("/triggers/0/catchUpRate", "1 to 1000"),
    ] {
        assert!(
            found
                .iter()
                .any(|(p, m)| p == pointer && m.contains(message)),
            "{pointer}: {message} is not in {found:#?}"
        );
    }
    assert_eq!(found.len(), 10);
}

#[test]
fn what_a_type_does_not_know_or_lacks_is_refused() {
    for (trigger, pointer) in [
        (json!(7), "/triggers/0"),
        (json!({}), "/triggers/0/type"),
        (json!({"type": "webhook"}), "/triggers/0/type"),
        (json!({"type": "cron"}), "/triggers/0/cron"),
        (json!({"type": "interval"}), "/triggers/0/every"),
        (
            json!({"type": "interval", "every": "PT0.5S"}),
            "/triggers/0/every",
        ),
        (
            json!({"type": "interval", "every": "PT1M", "timezone": "UTC"}),
            "/triggers/0/timezone",
        ),
        (json!({"type": "once"}), "/triggers/0/at"),
        (json!({"type": "once", "at": "09:00"}), "/triggers/0/at"),
        (
            json!({"type": "cron", "cron": "@daily", "misfire": "some"}),
            "/triggers/0/misfire",
        ),
        (
            json!({"type": "cron", "cron": "@daily", "jitterWindow": "101%"}),
            "/triggers/0/jitterWindow",
        ),
        (
            json!({"type": "cron", "cron": "@daily", "startAt": "2026-01-01T00:00:00Z", "endAt": "2026-01-01T00:00:00Z"}),
            "/triggers/0/endAt",
        ),
    ] {
        let found = faults(&trigger);
        assert_eq!(found.len(), 1, "{trigger}: {found:?}");
        assert_eq!(found[0].0, pointer, "{trigger}");
    }
}

#[test]
fn the_canonical_form_reads_as_the_same_trigger() {
    for trigger in [
        json!({"type": "cron", "cron": "0 2 * * *", "timezone": "europe/berlin", "misfire": "all"}),
        json!({"type": "cron", "cron": "@daily", "jitterWindow": "P1D", "misfire": {"all": {}}}),
        json!({"type": "interval", "every": "P1DT1.5S", "jitterWindow": "5%", "misfire": "none"}),
        json!({"type": "once", "at": "2026-12-01T09:00:00Z", "overlap": "cancel"}),
    ] {
        let read = read(&trigger);
        assert_eq!(TriggerSchedule::parse(&read.to_json(), ""), Ok(read));
    }
}
