# Read by other scripts here: how the first runs disturbed their pictures, which `distill` and `train` did by default until
# 2026-11-29. (One picture in ten was grey, and is by default.)
HEAVY="--set augment.rotate_deg=10 --set augment.scale=0.1 --set augment.shift_px=5 --set augment.exposure=0.35
    --set augment.low_resolution=0.3 --set augment.blur=0.25 --set augment.noise=0.3 --set augment.jpeg=0.12
    --set augment.occlude=0.15 --set augment.print_and_scan=0.1"
