"""The plot of scripts/bench --scale, as SVG."""

import math

COLOURS = {"export": "#2b6cb0", "transform": "#b7791f", "load": "#2f855a", "verify": "#9b2c2c"}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 360, 300, 70, 40, 50


def panel(x, title, unit, sizes, stages, value):
    """One diagram: sizes across on a logarithmic scale, values up from zero."""
    highest = max(value(stage, size) for stage in stages for size in sizes)
    step = 10 ** math.floor(math.log10(highest))
    step = next(part * step for part in (0.2, 0.5, 1, 2) if highest / (part * step) <= 6)
    top = math.ceil(highest / step) * step
    low, high = math.log10(sizes[0]), math.log10(sizes[-1])
    across = lambda size: x + LEFT + (math.log10(size) - low) / max(high - low, 1) * (WIDTH - LEFT - 20)
    up = lambda number: HEIGHT - BOTTOM - number / top * (HEIGHT - TOP - BOTTOM)
    lines = [f'<text x="{x + LEFT}" y="22" font-weight="bold">{title}</text>']
    for at in range(round(top / step) + 1):
        y = up(at * step)
        lines.append(f'<line x1="{x + LEFT}" x2="{x + WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{x + LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{at * step:,.0f}</text>')
    for size in sizes:
        label = f"{size / 1e6:g}"
        lines.append(f'<text x="{across(size):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    lines.append(f'<text x="{x + WIDTH / 2 + 20}" y="{HEIGHT - 12}" text-anchor="middle">million documents; {unit}</text>')
    for stage in stages:
        points = [(across(size), up(value(stage, size))) for size in sizes]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[stage]}" stroke-width="2"/>')
        lines += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{COLOURS[stage]}"/>' for a, b in points]
    return lines


def scale_plot(figures, sizes, stages):
    """Documents a second, and peak memory, of each stage."""
    speed = lambda stage, size: size / figures.median(f"{stage} {size}")
    peak = lambda stage, size: figures.median(f"{stage} {size} peak MiB")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH + 110}" height="{HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        *panel(0, "Speed", "documents a second", sizes, stages, speed),
        *panel(WIDTH, "Peak memory", "MiB", sizes, stages, peak),
    ]
    for at, stage in enumerate(stages):
        y = TOP + 20 + at * 22
        lines.append(f'<rect x="{2 * WIDTH}" y="{y - 9}" width="12" height="12" fill="{COLOURS[stage]}"/>')
        lines.append(f'<text x="{2 * WIDTH + 18}" y="{y + 2}">{stage}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"
