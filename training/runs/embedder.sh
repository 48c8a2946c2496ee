#!/bin/sh
# The embedder that is shipped, as it was made on 2026-11-22 (docs/experiments-embedder.md): each line goes on from the
# checkpoint the one before left. RUN is a folder of your own, DATA the folder of the packs.
set -eu
RUN=${RUN:-runs/embedder}
DATA=${DATA:-../shared/data}
distill() { python -m glancein_training.distill "$RUN" --set "data=$DATA" --set network=glance-158 --set optimiser=adamw "$@"; }

distill --set batch=128 --minutes 12
distill --set train_px=80 --minutes 60
distill --set train_px=80 --set decay_images=240000 --decay --minutes 11 \
    --set augment.low_resolution=0.2 --set augment.blur=0.15 --set augment.noise=0.2 --set augment.jpeg=0.1 \
    --set augment.occlude=0.08 --set augment.exposure=0.3 --set augment.print_and_scan=0
distill --set decay_images=150000 \
    --set augment.low_resolution=0.2 --set augment.blur=0.15 --set augment.noise=0.2 --set augment.jpeg=0.1 \
    --set augment.occlude=0.08 --set augment.exposure=0.3 --set augment.print_and_scan=0
# Then twice by hand, the optimiser's state kept: `decay_from` in the checkpoint set so that the rate is 0.32 of the full
# one, 25,600 images with the settings below, and down to 0.01 within 12,900 more.
# --set augment.low_resolution=0.25 --set augment.blur=0.2 --set augment.noise=0.2 --set augment.jpeg=0.1
# --set augment.occlude=0.06 --set augment.exposure=0.3 --set augment.print_and_scan=0.2
python -c 'import sys; from pathlib import Path; from glancein_training.distill import keep; keep(*map(Path, sys.argv[1:]))' \
    "$RUN/checkpoint.pt" "$RUN/first.pt"

# Run m1 goes on from there with Muon. (Its decay was meant to be 225,000 images long until the rate was at 0.77.)
SECOND=$RUN-m1
muon() {
    python -m glancein_training.distill "$SECOND" --set "data=$DATA" --set network=glance-158 --start-from "$RUN/first.pt" \
        --set warm_up_images=6400 --set augment.rotate_deg=7 --set augment.scale=0.07 --set augment.shift_px=3 \
        --set augment.low_resolution=0.2 --set augment.blur=0.12 --set augment.noise=0.15 --set augment.jpeg=0.08 \
        --set augment.occlude=0.05 --set augment.exposure=0.25 "$@"
}
muon --set train_px=80 --set augment.print_and_scan=0.08 --minutes 32
muon --set augment.print_and_scan=0.15 --set decay_images=180000 --decay
python -c 'import sys; from pathlib import Path; from glancein_training.distill import keep; keep(*map(Path, sys.argv[1:]))' \
    "$SECOND/checkpoint.pt" "$RUN/second.pt"

# Run m2 the same way from there. (Its first part was ended by hand, at 204,869 images.)
THIRD=$RUN-m2
again() {
    python -m glancein_training.distill "$THIRD" --set "data=$DATA" --set network=glance-158 --start-from "$RUN/second.pt" \
        --set seed=2 --set warm_up_images=6400 --set augment.rotate_deg=7 --set augment.scale=0.07 --set augment.shift_px=3 \
        --set augment.low_resolution=0.2 --set augment.blur=0.12 --set augment.noise=0.15 --set augment.jpeg=0.08 \
        --set augment.occlude=0.05 --set augment.exposure=0.25 "$@"
}
again --set train_px=80 --set augment.print_and_scan=0.15 --minutes 58
again --set augment.print_and_scan=0.22 --set decay_images=150000 --decay
python -c 'import sys; from pathlib import Path; from glancein_training.distill import keep; keep(*map(Path, sys.argv[1:]))' \
    "$THIRD/checkpoint.pt" "$RUN/third.pt"

# Run g1 goes on with three more blocks, at 112 px throughout. (Its decay was meant to be 135,000 images long until 102,423.)
FOURTH=$RUN-g1
deeper() {
    python -m glancein_training.distill "$FOURTH" --set "data=$DATA" --set network=glance-220 --start-from "$RUN/third.pt" \
        --set seed=11 --set warm_up_images=6400 --set augment.rotate_deg=7 --set augment.scale=0.07 --set augment.shift_px=3 \
        --set augment.low_resolution=0.2 --set augment.blur=0.1 --set augment.noise=0.12 --set augment.jpeg=0.08 \
        --set augment.occlude=0.05 --set augment.exposure=0.25 "$@"
}
deeper --set augment.print_and_scan=0.25 --minutes 14
deeper --set augment.print_and_scan=0.3 --set decay_images=135000 --decay --minutes 38
deeper --set augment.print_and_scan=0.4 --set decay_images=128000 --decay
