# Read by other scripts here: START, DATA, IMAGES and PYTHON are theirs.
# continued OUT NETWORK SETTING...: a run from START with the last settings of the shipped embedder and a rate that falls at once.
continued() {
    OUT=$1 NETWORK=$2
    shift 2
    "$PYTHON" -m torch.distributed.run --nproc-per-node 2 --master-addr 127.0.0.1 --master-port 29513 \
        -m glancein_training.distill "$OUT" --set "data=$DATA" --set "network=$NETWORK" --start-from "$START" \
        --no-compile --decay --set "decay_images=$IMAGES" --set bfloat16=true --set batch=128 --set threads=1 --set seed=41 \
        --set warm_up_images=5000 --set note_every_images=25600 --set held_layers=1 --set average_decay=0.99 \
        --set rate=0.002 --set relation_weight=30 --set crowding_weight=20 --set crowding_others=4096 --set augment.rotate_deg=7 \
        --set augment.scale=0.07 --set augment.shift_px=3 --set augment.low_resolution=0.2 --set augment.jpeg=0.08 \
        --set augment.occlude=0.05 --set augment.exposure=0.25 --set augment.blur=0.1 --set augment.noise=0.12 \
        --set augment.print_and_scan=0.4 "$@"
}
