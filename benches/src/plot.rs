//! The report as pictures: one panel a work, one line a peer, both axes logarithmic.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::rows::Row;
use crate::shares::ShareRow;
use crate::work::Shape;

const WIDTH: u32 = 1200;
const HEIGHT: u32 = 760;
const TEXT: RGBColor = RGBColor(60, 60, 60);
const FONT: &str = "sans-serif";

/// Colours that people who see fewer colours can tell apart.
fn colour(peer: &str) -> RGBColor {
    match peer {
        "relinear" => RGBColor(213, 0, 0),
        "memcpy" => RGBColor(120, 120, 120),
        "edit_log" => RGBColor(0, 114, 178),
        "bpf_patcher" => RGBColor(0, 158, 115),
        "rfc_list_pool" => RGBColor(230, 159, 0),
        "rfc_list" => RGBColor(204, 121, 167),
        "cranelift_layout" => RGBColor(86, 180, 233),
        _ => RGBColor(0, 0, 0),
    }
}

/// A quantity of a row, and its name.
pub struct Quantity {
    /// What the panels are of.
    pub title: &'static str,
    /// The quantity.
    pub of: fn(&Row) -> f64,
    /// Less than this is drawn as this.
    pub least: f64,
    /// A peer that has none of it.
    pub without: &'static str,
}

/// Time for each unit of the program.
pub const TIME: Quantity =
    Quantity { title: "ns per input unit", of: Row::ns_per_unit, least: 1e-3, without: "" };

/// Peak memory for each unit of the result.
pub const MEMORY: Quantity = Quantity {
    title: "peak bytes per output unit, beyond input and output",
    of: Row::bytes_per_unit,
    least: 0.5,
    without: "memcpy",
};

/// Draws a quantity of warm rows against size.
///
/// # Errors
///
/// If the file cannot be written.
pub fn by_size(rows: &[Row], quantity: &Quantity, path: &Path) -> Result<(), Box<dyn Error>> {
    let rows: Vec<&Row> =
        rows.iter().filter(|row| row.mode == "warm" && row.peer != quantity.without).collect();
    let root = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let (legend, panels) = root.split_vertically(56);
    draw_legend(&rows, quantity, &legend)?;
    for (panel, shape) in panels.split_evenly((2, 3)).iter().zip(Shape::ALL) {
        let rows: Vec<&Row> = rows.iter().copied().filter(|row| row.work == shape.name()).collect();
        if !rows.is_empty() {
            draw_panel(&rows, quantity, shape, panel)?;
        }
    }
    root.present()?;
    Ok(())
}

fn peers<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<&'r str> {
    let mut peers: Vec<&str> = Vec::new();
    for row in rows {
        if !peers.contains(&row.peer.as_str()) {
            peers.push(&row.peer);
        }
    }
    peers
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw_legend(rows: &[&Row], quantity: &Quantity, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
    let style = (FONT, 15).into_font().color(&TEXT);
    area.draw(&Text::new(quantity.title, (10, 8), style.clone()))?;
    let mut x = 10;
    for peer in peers(rows.iter().copied()) {
        let line = [(x, 38), (x + 22, 38)];
        area.draw(&PathElement::new(line.to_vec(), colour(peer).stroke_width(3)))?;
        area.draw(&Text::new(peer.to_string(), (x + 26, 30), style.clone()))?;
        x += 50 + 9 * i32::try_from(peer.len())?;
    }
    Ok(())
}

fn draw_panel(
    rows: &[&Row],
    quantity: &Quantity,
    shape: Shape,
    area: &Area<'_>,
) -> Result<(), Box<dyn Error>> {
    let value = |row: &Row| (quantity.of)(row).max(quantity.least);
    let sizes = rows.iter().map(|row| row.n);
    let (least, most) = (sizes.clone().min().unwrap_or(1), sizes.max().unwrap_or(1));
    let low = rows.iter().map(|row| value(row)).fold(f64::INFINITY, f64::min);
    let high = rows.iter().map(|row| value(row)).fold(0.0, f64::max);
    let x = (f64::from(least) * 0.8..f64::from(most) * 1.25).log_scale().base(4.0);
    let y = (low * 0.7..high * 1.5).log_scale();
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .caption(shape.title(), (FONT, 15).into_font().color(&TEXT))
        .x_label_area_size(28)
        .y_label_area_size(52)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .axis_style(TEXT)
        .label_style((FONT, 12).into_font().color(&TEXT))
        .x_label_formatter(&|n| size_name(*n))
        .y_label_formatter(&|value| format!("{value}"))
        .x_labels(10)
        .y_labels(6)
        .draw()?;
    for peer in peers(rows.iter().copied()) {
        let points: Vec<(f64, f64)> =
            rows.iter().filter(|row| row.peer == peer).map(|row| (f64::from(row.n), value(row))).collect();
        let width = if peer == "relinear" { 3 } else { 2 };
        chart.draw_series(LineSeries::new(points.clone(), colour(peer).stroke_width(width)))?;
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour(peer).filled())))?;
    }
    Ok(())
}

fn size_name(n: f64) -> String {
    match n {
        n if n >= 1_048_576.0 => format!("{:.0} Mi", n / 1_048_576.0),
        n if n >= 1024.0 => format!("{:.0} Ki", n / 1024.0),
        n => format!("{n:.0}"),
    }
}

const PARTS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(213, 0, 0), RGBColor(0, 158, 115)];

/// Draws what the parts of patching objects take, as shares of the whole.
///
/// # Errors
///
/// If the file cannot be written.
pub fn shares(rows: &[ShareRow], path: &Path) -> Result<(), Box<dyn Error>> {
    let height = 60 + 26 * u32::try_from(rows.len())?;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let style = (FONT, 15).into_font().color(&TEXT);
    let names = rows.first().map(|row| row.parts.named().map(|(name, _)| name)).unwrap_or_default();
    let mut x = 260;
    for (name, colour) in names.iter().zip(PARTS) {
        root.draw(&Rectangle::new([(x, 12), (x + 22, 26)], colour.filled()))?;
        root.draw(&Text::new(*name, (x + 28, 11), style.clone()))?;
        x += 140;
    }
    let width = f64::from(WIDTH) - 280.0;
    for (row, y) in rows.iter().zip((44..).step_by(26)) {
        root.draw(&Text::new(format!("{}, {}", row.object, row.pass), (10, y + 2), style.clone()))?;
        let total = row.parts.named().iter().map(|(_, ns)| ns).sum::<u64>().max(1) as f64;
        let mut from = 260.0;
        for ((_, ns), colour) in row.parts.named().iter().zip(PARTS) {
            let to = from + *ns as f64 / total * width;
            root.draw(&Rectangle::new([(pixel(from), y), (pixel(to), y + 20)], colour.filled()))?;
            from = to;
        }
    }
    root.present()?;
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "within the picture")]
fn pixel(at: f64) -> i32 {
    at.round() as i32
}
