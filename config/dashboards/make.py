#!/usr/bin/env python3
"""Writes the dashboards of this folder: operations.json, modes.json and slo.json, for Grafana.

    config/dashboards/make.py           writes them
    config/dashboards/make.py --check   writes nothing, and fails when one is not what this script makes

What is shown stands here, one panel after the other; where it lies, its id and all that every panel has alike is
reckoned. Nothing else writes these files: what was changed in Grafana is brought here by hand.
"""

import json
import sys
from pathlib import Path

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OURS = 'instance=~"$instance"'
JOB = 'job="biometric-bridge", instance=~"$instance"'
# What people ask for; the same as in config/alerts.yaml.
ASKED = 'route=~"/api/v1/.*|/debug/.*|/ws"'
GREEN, YELLOW, RED = "green", "yellow", "red"


def rate(metric, by="", labels=OURS):
    """How often in a second, over what Grafana takes for a sensible stretch."""
    return f"sum{' by (' + by + ') ' if by else ''}(rate({metric}{{{labels}}}[$__rate_interval]))"


def quantile(share, metric):
    return f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{{{OURS}}}[$__rate_interval])))"


def quantiles(metric):
    return [(quantile(share, metric), name) for share, name in [(0.5, "half within"), (0.95, "95 % within"), (0.99, "99 % within")]]


def panel(title, unit, expressions, about, steps=(), kind="timeseries", width=8, alert=None, stack=False, decimals=None):
    """A panel. `expressions` are pairs of an expression and what its series are called, `steps` pairs of a value
    and the colour from there on: green before the first, unless that has no value. `alert` is the section of the
    runbook that says what to do."""
    lines = bool(steps) and kind == "timeseries"
    if not steps or steps[0][0] is not None:
        steps = [(None, GREEN), *steps]
    defaults = {
        "unit": unit,
        "thresholds": {
            "mode": "absolute",
            "steps": [{"color": colour, "value": value} for value, colour in steps],
        },
    }
    if decimals is not None:
        defaults["decimals"] = decimals
    made = {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": 4 if kind == "stat" else 8},
        "links": [{"title": "What to do", "url": "${runbook}#" + alert.lower(), "targetBlank": True}] if alert else [],
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }
    if kind == "timeseries":
        defaults["min"] = 0
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if stack else 0,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if lines else "off"},
        }
        made["options"] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif kind == "stat":
        made["options"] = {
            "colorMode": "value" if len(steps) > 1 else "none",
            "graphMode": "area",
            "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    elif kind == "heatmap":
        made["options"] = {"calculate": False, "yAxis": {"unit": unit}, "color": {"mode": "scheme", "scheme": "Oranges"}}
    made["targets"] = [
        {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "expr": expression,
            "legendFormat": name,
            "format": "heatmap" if kind == "heatmap" else "time_series",
        }
        for place, (expression, name) in enumerate(expressions)
    ]
    return made


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": 24, "h": 1}}


def laid_out(panels):
    """Gives each panel its place, from left to right and down, and its number."""
    x = y = height = 0
    for number, each in enumerate(panels, 1):
        place = each["gridPos"]
        if x + place["w"] > 24:
            x, y, height = 0, y + height, 0
        each["id"] = number
        each["gridPos"] = {"x": x, "y": y, **place}
        x, height = x + place["w"], max(height, place["h"])
    return panels


def variable(name, label, query):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard(name, title, about, panels, variables=()):
    instances = variable("instance", "Instance", "label_values(biometric_build_info, instance)")
    return {
        "id": None,
        "uid": f"biometric-{name}",
        "title": title,
        "description": about,
        "tags": ["biometric-bridge"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-7d" if name == "slo" else "now-3h", "to": "now"},
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "title": "Biometric Bridge", "tags": ["biometric-bridge"], "asDropdown": True, "keepTime": True},
            {"type": "link", "title": "Runbook", "url": "${runbook}", "targetBlank": True},
        ],
        "templating": {
            "list": [
                {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "current": {}},
                instances,
                *variables,
                # Where docs/runbook.md is found at your place; links of panels add the section.
                {"type": "textbox", "name": "runbook", "label": "Runbook", "query": "docs/runbook.md"},
            ]
        },
        "panels": laid_out(panels),
    }


def operations():
    panels = [
        row("Is it well"),
        panel("Instances that answer", "short", [("sum(up{%s})" % JOB, "instances")], "Instances that Prometheus could scrape.",
              [], "stat", 4, "BiometricBridgeDown"),
        panel("Alerts that fire", "short", [('count(ALERTS{alertstate="firing", alertname=~"Biometric.*|Kafka.*|Cognitive.*"}) or vector(0)', "alerts")],
              "Alerts of config/alerts.yaml that fire now.", [(1, RED)], "stat", 4),
        panel("Parts that are away", "short", [("count(biometric_part_up{%s} == 0) or vector(0)" % OURS, "parts")],
              "Parts of /ready that are not well, of all instances.", [(1, RED)], "stat", 4, "BiometricPartDown"),
        panel("Lanes running", "short", [('sum(biometric_lanes{%s, condition="running"})' % OURS, "lanes")],
              "Each lane is one partition of the topic of events, and runs at one instance.", [], "stat", 4, "BiometricLaneHalted"),
        panel("Lanes halted", "short", [('sum(biometric_lanes{%s, condition="halted"})' % OURS, "lanes")],
              "Lanes that do not go on without an operator.", [(1, RED)], "stat", 4, "BiometricLaneHalted"),
        panel("Instances by release", "short", [("count by (version) (biometric_build_info{%s})" % OURS, "{{version}}")],
              "More than one release only while instances are being replaced.", [], "stat", 4),
        row("What comes"),
        panel("Events Processed", "cps", [(rate("biometric_events_processed_total", "instance"), "{{instance}}")],
              "Records applied to their user's state and committed, in a second.", stack=True, alert="CognitiveModeStuck"),
        panel("Records by what became of them", "cps", [(rate("biometric_records_total", "outcome"), "{{outcome}}")],
              "All records read. forwarded: sent on to the user's home lane; duplicate: known already; skipped and erased: not applied and not kept.", stack=True),
        panel("Kafka Consumer Lag", "short", [('kafka_consumer_lag{%s, topic=~"$topic"}' % JOB, "{{topic}}/{{partition}}")],
              "Records between the committed position and the end of the log. A number is no trouble while they are read as fast as they come.",
              [(1000, YELLOW)], alert="KafkaLagHigh"),
        panel("From the log to the commit", "s", quantiles("biometric_event_age_seconds"),
              "The age of the oldest record of each batch when the batch was committed.", [(1, YELLOW), (60, RED)], alert="BiometricEventAgeHigh"),
        panel("Something to read, and nothing committed", "s", [("max by (instance) (biometric_event_waiting_seconds{%s})" % OURS, "{{instance}}")],
              "The longest that a lane has had records to read and has committed none.", [(60, RED)], alert="BiometricEventAgeHigh"),
        panel("Lanes by condition", "short", [("sum by (condition) (biometric_lanes{%s})" % OURS, "{{condition}}")],
              "claiming and restoring are the way to running; waiting: a part is away; added: partitions are being added.", stack=True, alert="BiometricLaneHalted"),
        row("What is committed"),
        panel("Time of a commit", "s", quantiles("biometric_commit_seconds"),
              "From the begin of a batch's transaction to its end.", [(1, YELLOW)], alert="BiometricCommitErrors"),
        panel("Records of a batch", "short", [(f'{rate("biometric_batch_records_sum")} / {rate("biometric_batch_records_count")}', "records")],
              "On average. Batches grow by themselves when the database takes longer."),
        panel("Commits that failed", "cps", [(rate("biometric_commit_failures_total", "kind"), "{{kind}}")],
              "away and unknown are tried again; fenced: another instance has the lane; refused: an alarm.", alert="BiometricCommitErrors"),
        panel("Batches before their commit", "short", [("sum by (instance) (biometric_batches_queued{%s})" % OURS, "{{instance}}")],
              "Batches between ingest and commit: how hard the database is pressed.", stack=True),
        panel("Lanes claimed", "cps", [(rate("biometric_lane_claims_total", "instance"), "{{instance}}")],
              "At the start, from other instances, and again after a failure.", alert="BiometricFenced"),
        panel("Users in memory", "short", [("sum by (instance) (biometric_users_live{%s})" % OURS, "{{instance}}")],
              "Users whose state is at hand; all others are loaded when something of theirs comes.", stack=True),
        row("What leaves"),
        panel("Published", "cps", [(rate("biometric_published_total", "sink"), "{{sink}}")], "Messages that are safe at the place to which they go.", stack=True),
        panel("Waiting to leave", "short", [("sum by (sink) (biometric_outbox_waiting{%s})" % OURS, "{{sink}}")],
              "Rows of the outbox that are committed and not yet safe at their place.", alert="BiometricOutboxOld"),
        panel("Oldest that waits to leave", "s", [("max by (sink) (biometric_outbox_waiting_seconds{%s})" % OURS, "{{sink}}")],
              "Since the oldest row of the outbox was committed.", [(300, RED)], alert="BiometricOutboxOld"),
        panel("Connection to the AUREN API", "short", [("max by (instance) (biometric_push_connected{%s})" % OURS, "{{instance}}")],
              "1 while there is one. 0 everywhere when none is set.", alert="BiometricPushDisconnected"),
        panel("Why it was disconnected", "cps", [(rate("biometric_push_disconnects_total", "reason"), "{{reason}}")],
              "Connections to the AUREN API that ended or were not opened.", alert="BiometricPushDisconnected"),
        panel("Sockets", "short", [("sum by (instance) (biometric_sockets{%s})" % OURS, "open at {{instance}}")],
              "WebSockets of people who follow users.", stack=True),
        row("What is refused or doubted"),
        panel("Dead letters", "cps", [(rate("biometric_dead_letters_total", "reason"), "{{reason}}")],
              "Records that could not be applied, by reason; `dlq list` has them.", stack=True, alert="BiometricDeadLetterRateHigh"),
        panel("Share of dead letters", "percentunit",
              [('%s / %s' % (rate("biometric_dead_letters_total"), rate("biometric_records_total", labels=OURS + ', outcome=~"new|duplicate|dead_letter"')), "share")],
              "Of the records that are for us.", [(0.01, RED)], alert="BiometricDeadLetterRateHigh"),
        panel("Users put aside", "short", [("sum(increase(biometric_users_quarantined_total{%s}[$__rate_interval]))" % OURS, "users")],
              "Users whose evaluation failed; `quarantine list` names them.", [(1, RED)], alert="BiometricUsersQuarantined"),
        panel("States that are not what their records make of them", "short",
              [("sum by (kind) (increase(biometric_state_mismatches_total{%s}[$__rate_interval]))" % OURS, "{{kind}}")],
              "Must be 0: in memory, in a checkpoint, or a checkpoint that does not open.", [(1, RED)], alert="BiometricStateMismatch"),
        panel("States compared", "cps", [(rate("biometric_states_scrubbed_total"), "compared"), (rate("biometric_states_rebuilt_total"), "rebuilt")],
              "The scrub compares one user after the other; rebuilt are those whose checkpoint was missing or did not open."),
        panel("Redis took no states", "cps", [(rate("biometric_cache_failures_total", "instance"), "{{instance}}")],
              "Times that Redis did not take states. Nothing depends on it.", alert="BiometricDegraded"),
        row("Keys, the log of accesses and requests"),
        panel("The most worn data key", "percentunit", [("max(biometric_key_usage_ratio_max{%s})" % OURS, "used up")],
              "Of what one key may seal, 2^30 seals.", [(0.5, YELLOW), (0.9, RED)], alert="BiometricKeyWorn"),
        panel("Age of the newest checkpoint of the log of accesses", "s", [("max by (sink) (biometric_audit_checkpoint_age_seconds{%s})" % OURS, "{{sink}}")],
              "How much of the log's end could be cut off without a trace.", [(600, RED)], alert="BiometricAuditUnsigned"),
        panel("Log of accesses", "cps", [(rate("biometric_audit_rows_total"), "rows"), (rate("biometric_audit_failures_total"), "refused")],
              "Rows written; refused are accesses that could not be written down.", alert="BiometricAuditFailures"),
        panel("Requests by status", "cps", [(rate("biometric_http_requests_total", "status"), "{{status}}")],
              "All requests, probes included.", stack=True, alert="BiometricAnswersBurnFast"),
        panel("Nobody knows who asks", "cps", [(rate("biometric_authentication_failures_total", "reason"), "{{reason}}")],
              "Requests for health data without a token that counts.", stack=True),
        panel("Operators' commands", "cps", [(rate("biometric_commands_total"), "carried out"), (rate("biometric_dead_letters_released_total", "fate"), "dead letters: {{fate}}")],
              "Commands that lanes carried out, and dead letters that left the list."),
        row("The process"),
        panel("Memory", "bytes", [("process_resident_memory_bytes{%s}" % JOB, "{{instance}}")], "What the process holds of the machine's memory."),
        panel("Processors", "short", [("rate(process_cpu_seconds_total{%s}[$__rate_interval])" % JOB, "{{instance}}")], "Processors in use."),
        panel("Open files", "short", [("process_open_fds{%s}" % JOB, "{{instance}}"), ("min(process_max_fds{%s})" % JOB, "may be")], "Files and connections, and how many there may be."),
    ]
    topics = variable("topic", "Topic", 'label_values(kafka_consumer_lag{job="biometric-bridge"}, topic)')
    return dashboard("operations", "Biometric Bridge: operations", "Whether the bridge does its work, from the log to what leaves it.", panels, [topics])


def modes():
    share = "sum by (mode) (cognitive_mode_current{%s}) / on () group_left () (sum(cognitive_mode_current{%s}) > 0)" % (OURS, OURS)
    panels = [
        row("Modes"),
        panel("Cognitive Mode Distribution", "short", [("sum by (mode) (cognitive_mode_current{%s})" % OURS, "{{mode}}")],
              "Users in each mode.", width=12, stack=True, alert="CognitiveModeStuck"),
        panel("Share of each mode", "percentunit", [(share, "{{mode}}")], "Of all users who have a mode.", width=12, stack=True),
        panel("Mode changes", "cpm", [("60 * sum(rate(cognitive_mode_transitions{%s}[$__rate_interval]))" % OURS, "in a minute")],
              "Mode changes committed. None at night is no fault.", alert="CognitiveModeStuck"),
        panel("Evaluations", "cps", [(rate("biometric_evaluations_total"), "evaluated"), (rate("biometric_events_processed_total"), "applied")],
              "Events that could have changed a mode, beside all records applied: what is too old when it comes is applied and changes nothing. A record may hold several events.", alert="CognitiveModeStuck"),
        panel("Evaluations that change a mode", "percentunit",
              [(f'{rate("cognitive_mode_transitions")} / ({rate("biometric_evaluations_total")} > 0)', "share")],
              "A jump after a new policy says how much more, or less, it switches.", decimals=2),
        row("Alerts about people"),
        panel("Changes of alerts", "cpm", [("60 * sum by (status) (rate(biometric_alert_changes_total{%s}[$__rate_interval]))" % OURS, "{{status}}")],
              "Alerts that began, were taken note of, ended or were given up; in a minute.", width=12),
        panel("Held back", "cpm", [("60 * sum by (reason) (rate(biometric_alerts_held_back_total{%s}[$__rate_interval]))" % OURS, "{{reason}}")],
              "Times that something was found and nobody was notified, by reason; in a minute.", width=12, stack=True),
        row("The coach"),
        panel("Messages", "cpm", [("60 * sum by (source) (rate(biometric_coach_messages_total{%s}[$__rate_interval]))" % OURS, "{{source}}")],
              "Messages about mode changes: by the language model, or the sentence of the explanation.", stack=True, alert="BiometricDegraded"),
        panel("Why a message is the explanation's sentence", "cpm", [("60 * sum by (reason) (rate(biometric_coach_fallbacks_total{%s}[$__rate_interval]))" % OURS, "{{reason}}")],
              "Messages that the language model did not write, by why.", stack=True),
        panel("Calls by what came of them", "cpm", [("60 * sum by (outcome) (rate(biometric_coach_calls_total{%s}[$__rate_interval]))" % OURS, "{{outcome}}")],
              "Calls of the language model; none while the coach is off.", stack=True),
        panel("Time of a call", "s", quantiles("biometric_coach_call_seconds"), "How long the language model takes.", [(10, YELLOW)]),
        panel("Calls left", "short", [("min by (window) (biometric_coach_calls_left{%s})" % OURS, "this {{window}}")],
              "What `coach.calls_per_minute` and `coach.calls_per_day` leave."),
    ]
    return dashboard("modes", "Biometric Bridge: modes", "In which modes users are, how often that changes, and what they are told. Numbers of users, never who.", panels)


def objective(name, bad, all_, record, fast, slow):
    def share(stretch):
        return f"sum(increase({bad}[{stretch}])) / sum(increase({all_}[{stretch}]))"

    return [
        panel(f"{name}, 30 days", "percentunit", [(f"1 - {share('30d')}", "kept")], "The objective is 99.9 %.",
              [(None, RED), (0.999, GREEN)], "stat", 6, slow, decimals=3),
        panel(f"{name}: what is left of the month's share", "percentunit", [(f"1 - ({share('30d')}) / 0.001", "left")],
              "1 when nothing was bad, 0 when the month's share of one in a thousand is used up, and below when more was.",
              [(None, RED), (0, YELLOW), (0.25, GREEN)], "stat", 6, slow, decimals=2),
        panel(f"{name}: how fast the share is used up", "short",
              [(f"{record}:ratio_rate{window} / 0.001", f"over {window}") for window in ["5m", "30m", "1h", "6h", "3d"]],
              "1 is as fast as the month lasts. Somebody is woken at 14.4 over an hour or 6 over six.", [(6, YELLOW), (14.4, RED)], width=12, alert=fast),
    ]


def slo():
    panels = [
        row("Events are committed within a second of coming"),
        *objective("Events in time", "biometric_events_late_total", "biometric_events_processed_total", "biometric:events_late",
                   "BiometricTimelinessBurnFast", "BiometricTimelinessBurnSlow"),
        panel("Late events", "cps", [(rate("biometric_events_late_total"), "late"), (rate("biometric_events_processed_total"), "all")],
              "Records of batches that were committed more than a second after their oldest came, beside all.", width=12, alert="BiometricTimelinessBurnFast"),
        panel("How old events are when they are committed", "s", [("sum by (le) (increase(biometric_event_age_seconds_bucket{%s}[$__rate_interval]))" % OURS, "{{le}}")],
              "The oldest record of each batch.", kind="heatmap", width=12, alert="BiometricEventAgeHigh"),
        row("Requests are answered"),
        *objective("Requests answered", "biometric_http_requests_total{%s, status=~\"5..\"}" % ASKED, "biometric_http_requests_total{%s}" % ASKED,
                   "biometric:answers_failed", "BiometricAnswersBurnFast", "BiometricAnswersBurnSlow"),
        panel("Requests that failed", "cps", [(rate("biometric_http_requests_total", "status", ASKED + ', status=~"5.."'), "{{status}}")],
              "Requests of people, probes left out, that were answered with 5xx.", width=12, alert="BiometricAnswersBurnFast"),
        panel("Requests by route", "cps", [(rate("biometric_http_requests_total", "route", ASKED), "{{route}}")],
              "By the pattern of the route: whose data was asked for is not in it.", width=12, stack=True),
        row("What is told is told soon"),
        panel("Oldest mode change or alert that nobody was told of", "s", [('max by (sink) (biometric_outbox_waiting_seconds{%s})' % OURS, "{{sink}}")],
              "No objective yet; an alert when it is five minutes.", [(300, RED)], width=12, alert="BiometricOutboxOld"),
        panel("Instances that answer", "short", [("sum(up{%s})" % JOB, "instances")], "Instances that Prometheus could scrape.", width=12, alert="BiometricBridgeDown"),
    ]
    return dashboard("slo", "Biometric Bridge: objectives", "Whether the bridge keeps what it promises: of a thousand events one may be late, of a thousand requests one may fail.", panels)


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: config/dashboards/make.py [--check]")
    old = []
    for name, make in [("operations", operations), ("modes", modes), ("slo", slo)]:
        path = Path(__file__).resolve().parent / f"{name}.json"
        text = json.dumps(make(), indent=2, ensure_ascii=False) + "\n"
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            old.append(path.name)
    if old:
        sys.exit(f"{', '.join(old)}: not what config/dashboards/make.py makes; run it")


if __name__ == "__main__":
    main()
