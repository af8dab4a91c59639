//! Scheduled triggers as a deployment's author writes them.

mod fields;

use std::time::Duration;

use millrace_types::Timestamp;
use serde_json::{Map, Value, json};

use crate::duration::format_duration;
use crate::misfire::DEFAULT_CATCH_UP_MAX;
use crate::{
    Bounds, Cron, CronSchedule, DEFAULT_JITTER_WINDOW, DstPolicy, Interval, Jitter, JitterWindow,
    MAX_CATCH_UP, MisfirePolicy, OverlapPolicy, Schedule, Timing, Zone,
};
use fields::Fields;

/// How late an occurrence may start before it counts as missed.
pub const DEFAULT_START_DEADLINE: Duration = Duration::from_secs(30);
/// Runs that are made up for, in a second.
pub const DEFAULT_CATCH_UP_RATE: u32 = 10;

/// Something about a trigger that has to be mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerFinding {
    /// JSON pointer to what is wrong.
    pub pointer: String,
    pub message: String,
}

/// When a trigger is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerTiming {
    Cron(CronSchedule),
    Interval {
        every: Duration,
    },
    /// A while after the run before has ended: what comes next depends on
    /// that.
    After {
        after: Duration,
    },
    Once {
        at: Timestamp,
    },
}

/// A trigger of type `cron`, `interval` or `once`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerSchedule {
    pub timing: TriggerTiming,
    pub bounds: Bounds,
    /// [`DEFAULT_JITTER_WINDOW`] where none is given; for `once`, whose author
    /// names the very moment, none.
    pub jitter_window: JitterWindow,
    pub misfire: MisfirePolicy,
    pub overlap: OverlapPolicy,
    pub start_deadline: Duration,
    /// Made-up runs in a second.
    pub catch_up_rate: u32,
}

/// The members that every scheduled trigger may have. `name` and `enabled`
/// are read by whoever reads triggers of all types.
const COMMON: [&str; 8] = [
    "type",
    "name",
    "enabled",
    "jitterWindow",
    "misfire",
    "overlap",
    "startDeadline",
    "catchUpRate",
];

impl TriggerSchedule {
    /// Reads a trigger; all findings at once. `pointer` is where it stands.
    pub fn parse(trigger: &Value, pointer: &str) -> Result<Self, Vec<TriggerFinding>> {
        let Value::Object(members) = trigger else {
            return Err(vec![TriggerFinding {
                pointer: pointer.to_owned(),
                message:
                    "a trigger is an object such as {\"type\": \"cron\", \"cron\": \"0 2 * * *\"}"
                        .to_owned(),
            }]);
        };
        let mut fields = Fields::new(members, pointer);
        let read = read(&mut fields);
        match read {
            Some(read) if fields.findings.is_empty() => Ok(read),
            _ => Err(fields.findings),
        }
    }

    /// The schedule of this trigger in a deployment made at `deployed_at`,
    /// which anchors an interval that has no `startAt`. Of one that goes by the
    /// end of its runs it has the first occurrence alone.
    pub fn schedule(&self, deployed_at: Timestamp) -> Schedule {
        let timing = match &self.timing {
            TriggerTiming::Cron(cron) => Timing::Cron(cron.clone()),
            TriggerTiming::Interval { every } => {
                let anchor = self.bounds.start.unwrap_or(deployed_at);
                let interval = Interval::new(*every, anchor);
                Timing::Interval(interval.expect("the length was checked when it was read"))
            }
            TriggerTiming::After { after } => Timing::Once(deployed_at.saturating_add(*after)),
            TriggerTiming::Once { at } => Timing::Once(*at),
        };
        Schedule {
            timing,
            bounds: self.bounds,
        }
    }

    /// The jitter of this trigger for a workflow.
    pub fn jitter(&self, workflow_id: &str) -> Jitter {
        Jitter::new(workflow_id, self.jitter_window)
    }

    /// The canonical form, with every default written out: what
    /// [`TriggerSchedule::parse`] reads as the same trigger.
    pub fn to_json(&self) -> Value {
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| json.insert(key.to_owned(), value);
        match &self.timing {
            TriggerTiming::Cron(CronSchedule { cron, zone, dst }) => {
                put("type", "cron".into());
                put("cron", cron.as_str().into());
                put("timezone", zone.name().into());
                put("dst", dst.as_str().into());
            }
            TriggerTiming::Interval { every } => {
                put("type", "interval".into());
                put("every", format_duration(*every).into());
            }
            TriggerTiming::After { after } => {
                put("type", "interval".into());
                put("after", format_duration(*after).into());
                // Nothing else is said of it: one run follows the other.
                return Value::Object(json);
            }
            TriggerTiming::Once { at } => {
                put("type", "once".into());
                put("at", at.to_string().into());
            }
        }
        if let Some(start) = self.bounds.start {
            put("startAt", start.to_string().into());
        }
        if let Some(end) = self.bounds.end {
            put("endAt", end.to_string().into());
        }
        put("jitterWindow", self.jitter_window.to_string().into());
        let misfire = match self.misfire {
            MisfirePolicy::None => "none".into(),
            MisfirePolicy::Last => "last".into(),
            MisfirePolicy::All { max } => json!({"all": {"max": max}}),
        };
        put("misfire", misfire);
        put("overlap", self.overlap.as_str().into());
        put("startDeadline", format_duration(self.start_deadline).into());
        put("catchUpRate", self.catch_up_rate.into());
        Value::Object(json)
    }
}

fn read(fields: &mut Fields<'_>) -> Option<TriggerSchedule> {
    let kind = fields.required_text("type", "\"cron\"")?;
    let mut default_window = DEFAULT_JITTER_WINDOW;
    let timing = match kind {
        "cron" => {
            fields.only(&COMMON, &["cron", "timezone", "dst", "startAt", "endAt"]);
            cron(fields)
        }
        "interval" if fields.members.contains_key("after") => {
            fields.only(&["type", "name", "enabled"], &["after"]);
            default_window = JitterWindow::Fixed(Duration::ZERO);
            length(fields, "after").map(|after| TriggerTiming::After { after })
        }
        "interval" => {
            fields.only(&COMMON, &["every", "startAt", "endAt"]);
            let written = fields.required_text("every", "\"PT15M\"");
            let every = written.and_then(|_| length(fields, "every"));
            every.map(|every| TriggerTiming::Interval { every })
        }
        "once" => {
            fields.only(&COMMON, &["at"]);
            default_window = JitterWindow::Fixed(Duration::ZERO);
            fields
                .required_text("at", "\"2026-12-01T09:00:00Z\"")
                .and_then(|text| fields.parsed("at", text))
                .map(|at| TriggerTiming::Once { at })
        }
        other => {
            let message = format!("`{other}` is no scheduled trigger: cron, interval or once");
            fields.fault("type", message);
            return None;
        }
    };
    let bounds = bounds(fields);
    let jitter_window = fields.optional("jitterWindow").unwrap_or(default_window);
    let misfire = misfire(fields);
    let overlap = fields.optional("overlap").unwrap_or_default();
    let start_deadline = fields
        .duration("startDeadline")
        .unwrap_or(DEFAULT_START_DEADLINE);
    if start_deadline < Duration::from_secs(1) {
        fields.fault("startDeadline", "must be at least one second, `PT1S`");
    }
    let catch_up_rate = fields.whole("catchUpRate", 1, 1000);
    Some(TriggerSchedule {
        timing: timing?,
        bounds,
        jitter_window,
        misfire,
        overlap,
        start_deadline,
        catch_up_rate: catch_up_rate.unwrap_or(DEFAULT_CATCH_UP_RATE),
    })
}

fn cron(fields: &mut Fields<'_>) -> Option<TriggerTiming> {
    let cron: Option<Cron> = fields
        .required_text("cron", "\"0 2 * * *\"")
        .and_then(|text| fields.parsed("cron", text));
    let zone: Option<Zone> = fields.optional("timezone");
    let dst: Option<DstPolicy> = fields.optional("dst");
    Some(TriggerTiming::Cron(CronSchedule {
        cron: cron?,
        zone: zone.unwrap_or_else(Zone::utc),
        dst: dst.unwrap_or_default(),
    }))
}

fn length(fields: &mut Fields<'_>, key: &str) -> Option<Duration> {
    let length = fields.duration(key)?;
    match Interval::new(length, Timestamp::from_micros(0)) {
        Ok(_) => Some(length),
        Err(error) => {
            fields.fault(key, error.to_string());
            None
        }
    }
}

fn bounds(fields: &mut Fields<'_>) -> Bounds {
    let bounds = Bounds {
        start: fields.optional("startAt"),
        end: fields.optional("endAt"),
    };
    if let (Some(start), Some(end)) = (bounds.start, bounds.end)
        && start >= end
    {
        fields.fault("endAt", "must be after `startAt`");
    }
    bounds
}

fn misfire(fields: &mut Fields<'_>) -> MisfirePolicy {
    let choices = "must be \"none\", \"last\", \"all\" or {\"all\": {\"max\": 60}}";
    let Some(value) = fields.members.get("misfire") else {
        return MisfirePolicy::default();
    };
    match value {
        Value::String(text) => match text.as_str() {
            "none" => return MisfirePolicy::None,
            "last" => return MisfirePolicy::Last,
            "all" => {
                return MisfirePolicy::All {
                    max: DEFAULT_CATCH_UP_MAX,
                };
            }
            _ => {}
        },
        Value::Object(outer) if outer.len() == 1 => {
            if let Some(Value::Object(all)) = outer.get("all")
                && all.keys().all(|key| key == "max")
            {
                let max = all
                    .get("max")
                    .map_or(Some(u64::from(DEFAULT_CATCH_UP_MAX)), Value::as_u64);
                if let Some(max) = max.and_then(|max| u32::try_from(max).ok())
                    && (1..=MAX_CATCH_UP).contains(&max)
                {
                    return MisfirePolicy::All { max };
                }
                let message = format!("must be a whole number from 1 to {MAX_CATCH_UP}");
                fields.fault_below("misfire", "/all/max", message);
                return MisfirePolicy::default();
            }
        }
        _ => {}
    }
    fields.fault("misfire", choices);
    MisfirePolicy::default()
}
