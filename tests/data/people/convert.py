#!/usr/bin/env python3
"""Makes the logs of recorded people from the public data sets they come from; never invents or alters a value.

    convert.py SOURCE_FOLDER OUTPUT_FOLDER

SOURCE_FOLDER holds a folder for each data set, named as in PROVENANCE.md, which says where each comes from and what is
assumed of it. Writes one `<person>.ndjson` each, as `biometric-bridge replay` reads it. Needs Python 3.10 and nothing
else; the same sources give the same bytes.
"""

import csv
import json
import math
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

# A record enters the log so long after its event, ms: live for every policy.
DELAY_MS = 1_000

# RMSSD from single beats: over the trailing window, from at least so many successive differences.
RMSSD_WINDOW_S = 120
RMSSD_DIFFERENCES_MIN = 30
# Intervals outside these bounds (30 to 200 beats/min) are artefacts …
INTERVAL_MIN_S, INTERVAL_MAX_S = 0.3, 2.0
# … and so is a change by more than this share from one interval to the next (Malik's rule).
CHANGE_MAX = 0.20
# Two intervals follow each other when the beats' times differ by the interval, give or take (the clock ticks 1/64 s).
CONTIGUITY_S = 0.04
# A snapshot with a greater share of artefact differences is left out: its RMSSD is published unfiltered.
SNAPSHOT_ARTEFACTS_MAX = 0.05


# --- Events in the three shapes that producers send -----------------------------------------------------------------


def record(event_time, value):
    """A line of the log, with the time by which lines are ordered. A time without offset counts as UTC here."""
    if event_time.tzinfo is None:
        event_time = event_time.replace(tzinfo=timezone.utc)
    since_epoch = event_time - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return since_epoch // timedelta(milliseconds=1) + DELAY_MS, value


def metrics_event(user, device, event_type, time, metrics):
    """An event with a `metrics` object; metrics without a value are left out."""
    metrics = {name: value for name, value in metrics.items() if value is not None}
    value = {"user_id": user, "device_id": device, "event_type": event_type, "timestamp": text(time)}
    return record(time, {**value, "metrics": metrics})


def readings_event(user, device_type, event_type, time, readings):
    """An event with a list of readings: (time, metric, value, confidence or None)."""

    def reading(at, metric, value, confidence):
        made = {"metric": metric, "value": value, "timestamp": text(at)}
        return made if confidence is None else {**made, "confidence": confidence}

    value = {"device_type": device_type, "user_id": user, "event_type": event_type, "timestamp": text(time)}
    return record(time, {**value, "readings": [reading(*each) for each in readings]})


def flat_event(user, device_type, time, metric, value):
    """An event of one metric."""
    made = {"user_id": user, "device_type": device_type, "metric_type": metric, "value": value}
    return record(time, {**made, "timestamp": text(time)})


def text(time):
    """The time as producers write it: with `Z`, an offset, or neither, as the time has it."""
    return time.isoformat().replace("+00:00", "Z")


def number(field):
    """The number of a CSV cell as it was written, whole when it is whole; None for an empty cell."""
    if not field.strip():
        return None
    value = float(field)
    return int(value) if value.is_integer() else value


# --- Beats ----------------------------------------------------------------------------------------------------------


def is_artefact(before, after):
    """Whether the step between two successive intervals (s) is none that a heart makes."""
    bounds = all(INTERVAL_MIN_S <= interval <= INTERVAL_MAX_S for interval in (before, after))
    return not bounds or abs(after - before) > CHANGE_MAX * before


def rmssd(beats, until):
    """RMSSD (ms, to 0.1) over the window that ends at `until`, and the share of the window that its intervals cover.

    `beats` are (time of the beat that ends the interval, interval), s. None when too few clean differences are left.
    """
    window = [beat for beat in beats if until - RMSSD_WINDOW_S < beat[0] <= until]
    squares = []
    for (earlier, before), (later, after) in zip(window, window[1:]):
        if abs(later - earlier - after) < CONTIGUITY_S and not is_artefact(before, after):
            squares.append((after - before) ** 2)
    if len(squares) < RMSSD_DIFFERENCES_MIN:
        return None
    covered = sum(interval for _, interval in window if INTERVAL_MIN_S <= interval <= INTERVAL_MAX_S)
    return round(1000 * math.sqrt(sum(squares) / len(squares)), 1), round(min(1.0, covered / RMSSD_WINDOW_S), 2)


def wristband(session, step_s):
    """A session of an Empatica E4: (UTC second, heart rate, (RMSSD, coverage) or None) on every whole step.

    Heart rate is the device's own value of that second; RMSSD stands at whole minutes only.
    """
    start, rate, *heart_rates = [number(line) for line in (session / "HR.csv").read_text().split()]
    assert rate == 1, f"{session}: heart rate comes at {rate} Hz"
    first, *rows = (session / "IBI.csv").read_text().split("\n")
    beats_start = float(first.split(",")[0])
    beats = [tuple(float(cell) for cell in row.split(",")) for row in rows if row.strip()]
    beats = [(beats_start + time, interval) for time, interval in beats]
    for index, heart_rate in enumerate(heart_rates):
        second = start + index
        if second % step_s == 0:
            yield second, heart_rate, rmssd(beats, second) if second % 60 == 0 else None


# --- The data sets --------------------------------------------------------------------------------------------------


def stress_predict(source, subject, user):
    """An hour in the laboratory: heart rate every 15 s, HRV every minute. Irish winter time is UTC."""
    for second, heart_rate, hrv in wristband(source / "stress_predict" / subject, step_s=15):
        time = datetime.fromtimestamp(second, timezone.utc)
        metrics = {"heart_rate": heart_rate, "hrv": hrv and hrv[0]}
        yield metrics_event(user, "empatica_e4", "vitals", time, metrics)


def exam_stress(source, subject, user):
    """Three exams: heart rate and HRV every minute; the confidence of HRV is how much of its window has beats."""
    winter_time = datetime(2018, 11, 4, 7, tzinfo=timezone.utc)
    for exam in ("Midterm_1", "Midterm_2", "Final"):
        for second, heart_rate, hrv in wristband(source / "exam_stress" / subject / exam, step_s=60):
            time = datetime.fromtimestamp(second, timezone.utc)
            time = time.astimezone(timezone(timedelta(hours=-5 if time < winter_time else -6)))
            readings = [(time, "heart_rate", heart_rate, None)]
            if hrv:
                readings.append((time, "hrv", *hrv))
            yield readings_event(user, "empatica_e4", "vitals", time, readings)


def whoop_cycles(source, user):
    """Each night's recovery when the strap had its final score, and each day's strain when the day had ended."""

    def local(cell, row):
        time = datetime.fromisoformat(cell)
        offset = "+00:00" if row["timezone_offset"] == "Z" else row["timezone_offset"]
        return time.astimezone(datetime.fromisoformat("2000-01-01T00:00" + offset).tzinfo)

    with open(source / "whoop_single_user_cycles" / "whoop_cycles.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["score_state_y"] == "SCORED" and row["user_calibrating"] == "False":
                metrics = {
                    "recovery_score": number(row["recovery_score"]),
                    "hrv": number(row["hrv_rmssd_milli"]),
                    "resting_heart_rate": number(row["resting_heart_rate"]),
                    "blood_oxygen": number(row["spo2_percentage"]),
                    "respiratory_rate": number(row["avg_respiratory_rate"]),
                }
                yield metrics_event(user, "whoop", "recovery", local(row["updated_ts_y"], row), metrics)
            # Days without a heart rate are placeholders from before the strap was worn.
            if row["cycle_end_ts"] and row["score_state_x"] == "SCORED" and number(row["score_avg_heart_rate"]):
                metrics = {"strain": number(row["score_strain"])}
                yield metrics_event(user, "whoop", "cycle", local(row["cycle_end_ts"], row), metrics)


def oura_ring(source, user):
    """Two weeks of nights, each sent whole on waking with its five-minute series; later an afternoon of heart rates."""
    folder = source / "oura_single_user_history"
    for sleep in json.loads((folder / "sleep.json").read_text())["data"]:
        if sleep["type"] != "long_sleep":
            continue
        woke = datetime.fromisoformat(sleep["bedtime_end"])
        readings = []
        for metric, series in (("hrv", sleep["hrv"]), ("heart_rate", sleep["heart_rate"])):
            begin = datetime.fromisoformat(series["timestamp"])
            for index, value in enumerate(series["items"]):
                time = begin + timedelta(seconds=index * series["interval"])
                # The last item's five minutes can end after the wearer rose: nothing is told before it happened.
                if value is not None and time < woke:
                    readings.append((time, metric, value, None))
        summary = {
            "hrv": sleep["average_hrv"],
            "heart_rate": sleep["average_heart_rate"],
            # 255 is the ring's "unknown".
            "lowest_heart_rate": None if sleep["lowest_heart_rate"] == 255 else sleep["lowest_heart_rate"],
            "respiratory_rate": sleep["average_breath"],
            "readiness_score": sleep["readiness"]["score"],
        }
        readings.extend((woke, metric, value, None) for metric, value in summary.items() if value is not None)
        yield readings_event(user, "oura_ring", "sleep", woke, readings)
    held = None
    for sample in json.loads((folder / "heartrate.json").read_text())["data"]:
        time = datetime.fromisoformat(sample["timestamp"])
        if held is None or time - held >= timedelta(seconds=60):
            held = time
            yield readings_event(user, "oura_ring", "heart_rate", time, [(time, "heart_rate", sample["bpm"], None)])


def polar_watch(source, days, user):
    """Days of heart rates, at most one a minute. The vendor tells wall-clock time without offset, and so do we."""
    for day in days:
        told = json.loads((source / "polar_continuous_hr" / f"{day}.json").read_text())
        held = None
        for sample in told["heart_rate_samples"]:
            time = datetime.fromisoformat(f"{day}T{sample['sample_time']}")
            if held is None or time - held >= timedelta(seconds=60):
                held = time
                yield flat_event(user, "polar", time, "heart_rate", sample["heart_rate"])


def welltory_snapshots(source, code, user):
    """Months of snapshots of 100 or 300 beats. The app tells wall-clock time without offset, and so do we."""
    with open(source / "welltory_hrv_covid19" / "hrv_measurements.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["user_code"] != code:
                continue
            intervals = [float(cell) / 1000 for cell in row["rr_data"].split(",")]
            steps = list(zip(intervals, intervals[1:]))
            own = 1000 * math.sqrt(sum((after - before) ** 2 for before, after in steps) / len(steps))
            assert abs(own - float(row["rmssd"])) < 0.01, f"{row['rr_code']}: {own} is not {row['rmssd']}"
            if sum(is_artefact(*step) for step in steps) > SNAPSHOT_ARTEFACTS_MAX * len(steps):
                continue
            time = datetime.fromisoformat(row["measurement_datetime"])
            metrics = {
                "hrv": number(row["rmssd"]),
                "hrv_sdnn": number(row["sdnn"]),
                "heart_rate": number(row["bpm"]),
            }
            yield metrics_event(user, "welltory", "hrv", time, metrics)


def people(source):
    """Every person and their records."""
    yield from ((user, stress_predict(source, subject, user)) for user, subject in
                (("stress-s05", "S05"), ("stress-s13", "S13")))
    yield from ((user, exam_stress(source, subject, user)) for user, subject in
                (("exam-s02", "S02"), ("exam-s06", "S06")))
    yield "whoop-p1", whoop_cycles(source, "whoop-p1")
    yield "oura-p1", oura_ring(source, "oura-p1")
    yield "polar-p1", polar_watch(source, ("2025-07-24", "2025-07-25", "2025-07-26"), "polar-p1")
    yield from ((user, welltory_snapshots(source, code, user)) for user, code in
                (("welltory-p1", "c174f32d88"), ("welltory-p2", "fcf3ea75b0"), ("welltory-p3", "295ed96279")))


def main(arguments):
    """Writes the logs; each ordered by record time."""
    if len(arguments) != 2:
        sys.exit("usage: convert.py SOURCE_FOLDER OUTPUT_FOLDER")
    source, output = map(Path, arguments)
    output.mkdir(parents=True, exist_ok=True)
    for person, records in people(source):
        lines = [
            json.dumps({"record_time_ms": time, "value": value}, ensure_ascii=False, separators=(",", ":")) + "\n"
            for time, value in sorted(records, key=lambda record: record[0])
        ]
        (output / f"{person}.ndjson").write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
