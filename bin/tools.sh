#!/bin/sh
# Runs a Java class of RocketMQ's, such as the examples of its guides. That needs a JVM and RocketMQ's jars:
# those in lib/ here, in $ROCKETMQ_HOME/lib, or on the CLASSPATH.
set -eu
bin=$(dirname "$(realpath "$0")")

class=
for word; do
    case $word in
    -*) ;;
    *)
        class=$word
        break
        ;;
    esac
done
if [ "$class" = org.apache.rocketmq.tools.command.MQAdminStartup ]; then
    while [ "$1" != "$class" ]; do shift; done
    shift
    exec sh "$bin/mqadmin" "$@"
fi
if [ -z "$class" ]; then
    echo "Usage: tools.sh CLASS [ARGUMENT ...], as in tools.sh org.apache.rocketmq.example.quickstart.Producer"
    exit 1
fi

java=${JAVA_HOME:+$JAVA_HOME/bin/java}
[ -n "$java" ] && [ -x "$java" ] || java=$(command -v java || :)
if [ -z "$java" ]; then
    echo "ERROR: Please set the JAVA_HOME variable in your environment, We need java(x64)! Sluice itself needs none; $class is a Java program !!" >&2
    exit 1
fi

jars=${CLASSPATH:-}
for lib in "$(dirname "$bin")/lib" "${ROCKETMQ_HOME:+$ROCKETMQ_HOME/lib}"; do
    [ -n "$lib" ] && [ -d "$lib" ] && jars="$lib/*:$jars"
done
if [ -z "$jars" ]; then
    echo "ERROR: $class is in RocketMQ's jars, which are not part of Sluice: put the lib directory of a RocketMQ release beside $bin, or set ROCKETMQ_HOME or CLASSPATH !!" >&2
    exit 1
fi
# JAVA_OPT is words, not one.
# shellcheck disable=SC2086
CLASSPATH=$jars exec "$java" ${JAVA_OPT:-} "$@"
