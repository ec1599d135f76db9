# Sourced by the scripts beside it. $bin is where they lie, behind all links.

# The installation, for whoever asks. Here it is only where conf/ lies.
if [ -z "${ROCKETMQ_HOME:-}" ]; then
    ROCKETMQ_HOME=$(dirname "$bin")
    export ROCKETMQ_HOME
fi

# The one binary: beside the scripts, above them, built in a checkout, or on the PATH.
for sluice in "$bin/sluice" "$bin/../sluice" "$bin/../target/release/sluice" "$(command -v sluice || :)"; do
    if [ -f "$sluice" ] && [ -x "$sluice" ]; then
        return
    fi
done
echo "ERROR: no sluice binary in $bin, in $(dirname "$bin") or on the PATH; in a checkout: cargo build --release !!" >&2
exit 1
