//! The plots, as SVG.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::experiment::Family;
use crate::outcome::Outcome;

pub(crate) struct Plot {
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    x: &'static str,
    y: &'static str,
    family: Family,
    /// The metrics. The second one is drawn as a thinner line.
    metrics: &'static [&'static str],
    logarithmic: bool,
    legend: SeriesLabelPosition,
}

pub(crate) const PLOTS: [Plot; 5] = [
    Plot {
        file: "latency.svg",
        title: "Latency: median (thick) and 99th percentile (thin) of a ping-pong",
        x: "clients, all busy",
        y: "µs",
        family: Family::PingPong,
        metrics: &["p50", "p99"],
        logarithmic: true,
        legend: SeriesLabelPosition::UpperLeft,
    },
    Plot {
        file: "memory.svg",
        title: "Resident memory per idle client",
        x: "clients",
        y: "KiB",
        family: Family::Idle,
        metrics: &["kib"],
        logarithmic: false,
        legend: SeriesLabelPosition::UpperRight,
    },
    Plot {
        file: "cpu.svg",
        title: "CPU time per message, all clients busy",
        x: "clients",
        y: "µs",
        family: Family::PingPong,
        metrics: &["micros"],
        logarithmic: false,
        legend: SeriesLabelPosition::UpperRight,
    },
    Plot {
        file: "scale.svg",
        title: "CPU time per message, 16 of the clients busy",
        x: "clients",
        y: "µs",
        family: Family::Scale,
        metrics: &["micros"],
        logarithmic: false,
        legend: SeriesLabelPosition::UpperRight,
    },
    Plot {
        file: "connect.svg",
        title: "Set-up rate: connections (connect, echo, close) per second of CPU time",
        x: "clients at once",
        y: "connections per second of CPU time",
        family: Family::Connect,
        metrics: &["rate"],
        logarithmic: false,
        legend: SeriesLabelPosition::UpperRight,
    },
];

const SIZE: (u32, u32) = (640, 400);
/// The colors of the contenders.
const COLORS: [RGBColor; 4] =
    [RGBColor(120, 120, 120), RGBColor(220, 120, 0), RGBColor(0, 90, 180), RGBColor(0, 140, 80)];

struct Series {
    contender: usize,
    label: Option<&'static str>,
    thin: bool,
    points: Vec<(f64, f64)>,
}

/// Draws each plot that has figures into its file in `folder`.
pub(crate) fn draw(outcomes: &[Outcome], folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for plot in &PLOTS {
        let series = series(plot, outcomes);
        let highest = series.iter().flat_map(|one| &one.points).map(|point| point.1).fold(0.0, f64::max);
        let lowest = series.iter().flat_map(|one| &one.points).map(|point| point.1).fold(highest, f64::min);
        if highest <= 0.0 {
            continue;
        }
        let mut text = String::new();
        let drawn = if plot.logarithmic {
            chart(&mut text, plot, &series, (lowest / 2.0..highest * 2.0).log_scale())
        } else {
            chart(&mut text, plot, &series, 0.0..highest * 1.25)
        };
        drawn.map_err(|error| io::Error::other(error.to_string()))?;
        fs::write(folder.join(plot.file), text)?;
    }
    Ok(())
}

fn series(plot: &Plot, outcomes: &[Outcome]) -> Vec<Series> {
    let family: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| {
            let (family, x) = outcome.experiment.at?;
            (family == plot.family).then_some((outcome, x))
        })
        .collect();
    let Some((first, _)) = family.first() else { return Vec::new() };
    let mut all = Vec::new();
    for (contender, one) in first.experiment.contenders.iter().enumerate() {
        for (nth, metric) in plot.metrics.iter().enumerate() {
            let points = family
                .iter()
                .filter_map(|(outcome, x)| Some((*x, outcome.figure(contender, metric)?.median)))
                .collect();
            let label = (nth == 0).then_some(one.label);
            all.push(Series { contender, label, thin: nth > 0, points });
        }
    }
    all
}

fn chart<Y>(
    text: &mut String,
    plot: &Plot,
    series: &[Series],
    heights: Y,
) -> Result<(), Box<dyn std::error::Error>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let widths: Range<f64> = widths(series);
    let mut chart = ChartBuilder::on(&area)
        .caption(plot.title, ("sans-serif", 16))
        .margin(10)
        .margin_right(30)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(widths.log_scale(), heights)?;
    chart
        .configure_mesh()
        .x_labels(5)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .x_desc(plot.x)
        .y_desc(plot.y)
        .light_line_style(WHITE)
        .draw()?;
    for one in series {
        let color = COLORS[one.contender % COLORS.len()];
        let style = color.stroke_width(if one.thin { 1 } else { 3 });
        let drawn = chart.draw_series(LineSeries::new(one.points.iter().copied(), style))?;
        if let Some(label) = one.label {
            drawn.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
        chart.draw_series(one.points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(plot.legend.clone())
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    area.present()?;
    Ok(())
}

fn widths(series: &[Series]) -> Range<f64> {
    let all = series.iter().flat_map(|one| &one.points).map(|point| point.0);
    let (low, high) = all.fold((f64::MAX, 1.0_f64), |(low, high), x| (low.min(x), high.max(x)));
    low.min(high)..high.max(low.min(high) + 1.0)
}
