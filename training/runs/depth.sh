#!/bin/sh
# What depth buys: the kept weights with blocks left out at the ends of stages, each network trained on for IMAGES pictures with a
# falling rate, the same for all. Run at the top of the checkout; RUNS is a folder outside it. The plot of true accepts
# over multiply-accumulates is FaceNet's figure 4 for our family.
set -eu
RUNS=${1:?folder of the runs}
DATA=${2:-../shared/data}
IMAGES=${IMAGES:-51200}
PYTHON=${PYTHON:-python}
START=${START:-training/weights/embedder.pt}
export PYTHONPATH=device:training:convert OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
. training/runs/continued.sh

set --
for network in glance-113 glance-158 glance-203 glance-249; do
    continued "$RUNS/$network" "$network"
    set -- "$@" --run "$RUNS/$network"
done
"$PYTHON" -m glancein_training.cli networks --no-measure --plot "$RUNS/depth.svg" "$@"
