//! The samples as a drawing: four panels over one time, the judged part shaded. Plain SVG.

use std::fmt::Write as _;

use super::Soak;
use super::sample::Sample;
use super::verdict::{Spread, judged, mebibytes};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
/// Of a panel, and from one to the next.
const HEIGHT: f64 = 110.0;
const STEP: f64 = 160.0;

struct Panel {
    title: String,
    lines: Vec<Line>,
}

struct Line {
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

const BLUE: &str = "#1f5fa8";
const ORANGE: &str = "#c8641e";

pub(super) fn write(samples: &[Sample], soak: &Soak) -> anyhow::Result<()> {
    if let Some(folder) = soak.plot.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(std::fs::write(&soak.plot, draw(samples, soak)?)?)
}

fn draw(samples: &[Sample], soak: &Soak) -> anyhow::Result<String> {
    let minutes = |sample: &Sample| sample.time.as_secs_f64() / 60.0;
    let line = |colour, figure: &dyn Fn(&Sample) -> f64| Line {
        colour,
        points: samples.iter().map(|sample| (minutes(sample), figure(sample))).collect(),
    };
    let files = |sample: &Sample| sample.files as f64;
    let gibibytes = |bytes: u64| bytes as f64 / 1_073_741_824.0;
    let words = |figure: &dyn Fn(&Sample) -> f64| match soak.stall {
        Some(_) => String::new(),
        None => format!(": {}", Spread::of(judged(samples), figure).words()),
    };
    let panels = [
        Panel {
            title: format!("memory of the service, MiB{}", words(&mebibytes)),
            lines: vec![line(BLUE, &mebibytes)],
        },
        Panel {
            title: format!("its open file descriptors{}", words(&files)),
            lines: vec![line(BLUE, &files)],
        },
        Panel {
            title: "events sent and not yet committed".to_owned(),
            lines: vec![line(BLUE, &|sample| sample.lag() as f64)],
        },
        Panel {
            title: "GiB on the disk: database (blue), topics (orange)".to_owned(),
            lines: vec![
                line(BLUE, &|sample| gibibytes(sample.sizes.database)),
                line(ORANGE, &|sample| gibibytes(sample.sizes.topics)),
            ],
        },
    ];
    let height = TOP + STEP * panels.len() as f64 + 10.0;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#222">
<rect width="{WIDTH}" height="{height}" fill="#fff"/>
<text x="{LEFT}" y="20" font-size="14">{} events/s of {} users, {} minutes</text>
"##,
        soak.rate, soak.users, soak.minutes
    );
    let length = soak.minutes as f64;
    let shaded = match soak.stall {
        Some(_) => {
            let halted = || samples.iter().filter(|sample| sample.halted).map(minutes);
            halted().next().zip(halted().next_back())
        }
        None => judged(samples).first().map(|sample| (minutes(sample), length)),
    };
    for (place, panel) in panels.iter().enumerate() {
        panel.draw(TOP + STEP * place as f64, length, shaded, &mut svg)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

impl Panel {
    fn draw(
        &self,
        y: f64,
        minutes: f64,
        shaded: Option<(f64, f64)>,
        svg: &mut String,
    ) -> std::fmt::Result {
        let values = self.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
        let top = round_up(values.fold(0.0, f64::max));
        let (first, last, base) = (y + 20.0, y + 20.0 + HEIGHT, WIDTH - RIGHT);
        let across = |minute: f64| LEFT + (WIDTH - LEFT - RIGHT) * (minute / minutes).min(1.0);
        let down = |value: f64| last - HEIGHT * value / top;
        writeln!(svg, r#"<text x="{LEFT}" y="{}">{}</text>"#, y + 12.0, self.title)?;
        if let Some((from, to)) = shaded {
            let (x, width) = (across(from), across(to) - across(from));
            writeln!(
                svg,
                r##"<rect x="{x:.1}" y="{first}" width="{width:.1}" height="{HEIGHT}" fill="#eef3e6"/>"##
            )?;
        }
        for part in [0.0, 0.5, 1.0] {
            let (value, y) = (top * part, down(top * part));
            writeln!(svg, r##"<path d="M{LEFT} {y}H{base}" stroke="#ccc"/>"##)?;
            let x = LEFT - 6.0;
            writeln!(svg, r#"<text x="{x}" y="{}" text-anchor="end">{value}</text>"#, y + 4.0)?;
        }
        for part in 0..=6 {
            let minute = minutes * f64::from(part) / 6.0;
            let (x, y) = (across(minute), last + 14.0);
            writeln!(
                svg,
                r##"<text x="{x:.1}" y="{y}" text-anchor="middle" fill="#666">{minute}</text>"##
            )?;
        }
        for line in &self.lines {
            let colour = line.colour;
            write!(svg, r#"<polyline fill="none" stroke="{colour}" stroke-width="1.3" points=""#)?;
            for (minute, value) in &line.points {
                write!(svg, "{:.1},{:.1} ", across(*minute), down(*value))?;
            }
            svg.push_str("\"/>\n");
        }
        Ok(())
    }
}

/// The next 1, 2 or 5 of a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|top| *top >= value).unwrap_or(1.0)
}
