package sluice.interop;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Runs scenarios with the official client against any RocketMQ-compatible name server.
 *
 * <p>Arguments: {@code <namesrvAddr> <scenario>...|all|list}. Prints {@code PASS <name> <millis>} or
 * {@code FAIL <name> <millis> <reason>} per scenario; exits with 1 if one failed.
 * {@code -Dinterop.parallel=N} runs N at a time (default 6). {@code -Dinterop.admin} is the name server for
 * administration, where clients have another address.
 */
public final class Scenarios {
    /** A scenario's body: returns when all is well, throws otherwise. */
    interface Body {
        void run(Scene scene) throws Exception;
    }

    private static final long DEADLINE_SECONDS = 60;

    private Scenarios() {}

    private static Map<String, Body> registry() {
        Map<String, Body> all = new LinkedHashMap<>();
        // The longest first: in every broker it waits for a client's own timers.
        all.put("reset_by_time_online", OffsetScenarios::resetOnline);
        RebalanceScenarios.register(all);
        Compat.register(all);
        SendScenarios.register(all);
        ConsumeScenarios.register(all);
        OrderlyScenarios.register(all);
        PullScenarios.register(all);
        FilterScenarios.register(all);
        RetryScenarios.register(all);
        ReplyScenarios.register(all);
        OffsetScenarios.register(all);
        QueryScenarios.register(all);
        AdminScenarios.register(all);
        AdminExtScenarios.register(all);
        TransactionScenarios.register(all);
        StatsScenarios.register(all);
        TraceScenarios.register(all);
        NamespaceScenarios.register(all);
        TimerScenarios.register(all);
        return all;
    }

    public static void main(String[] args) throws Exception {
        run(args, registry());
    }

    /** The program, over a set of scenarios. */
    static void run(String[] args, Map<String, Body> all) throws Exception {
        if (args.length < 2) {
            System.err.println("usage: Scenarios <namesrvAddr> <scenario>...|all|list; scenarios: " + all.keySet());
            System.exit(2);
        }
        var names = args[1].equals("all") || args[1].equals("list") ? new ArrayList<>(all.keySet()) : List.of(args).subList(1, args.length);
        if (args[1].equals("list")) {
            names.forEach(System.out::println);
            return;
        }
        for (String name : names) {
            if (!all.containsKey(name)) {
                System.err.println("no scenario named " + name + "; there are " + all.keySet());
                System.exit(2);
            }
        }
        // Halt, not exit: clients that a failed scenario left behind must not hold the process.
        int status = 2;
        try {
            status = runAll(args[0], names, all) ? 0 : 1;
        } catch (Exception e) {
            e.printStackTrace();
        }
        Runtime.getRuntime().halt(status);
    }

    private static boolean runAll(String namesrv, List<String> names, Map<String, Body> all) throws Exception {
        var admin = new DefaultMQAdminExt();
        admin.setNamesrvAddr(System.getProperty("interop.admin", namesrv));
        admin.setInstanceName(Scene.instance());
        admin.start();
        Scene.until("registered broker", Scene.SOON, () -> !admin.examineBrokerClusterInfo().getBrokerAddrTable().isEmpty());
        String run = Long.toString(System.currentTimeMillis() % 100_000_000L, 36);
        var passed = new AtomicBoolean(true);
        var lanes = Executors.newFixedThreadPool(Integer.getInteger("interop.parallel", 6));
        var daemons = Executors.newCachedThreadPool(Scenarios::daemon);
        var results = new ArrayList<Future<?>>();
        for (String name : names) {
            var scene = new Scene(namesrv, "t" + run + "-" + name, admin);
            results.add(lanes.submit(() -> {
                if (!runOne(name, all.get(name), scene, daemons)) {
                    passed.set(false);
                }
            }));
        }
        for (var result : results) {
            result.get();
        }
        daemons.shutdown();
        daemons.awaitTermination(10, TimeUnit.SECONDS);
        return passed.get();
    }

    private static boolean runOne(String name, Body body, Scene scene, ExecutorService daemons) {
        long start = System.nanoTime();
        Future<?> running = daemons.submit(() -> {
            body.run(scene);
            return null;
        });
        String reason = null;
        try {
            running.get(DEADLINE_SECONDS, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            running.cancel(true);
            reason = "not finished within " + DEADLINE_SECONDS + " s";
        } catch (ExecutionException e) {
            reason = describe(e.getCause());
        } catch (InterruptedException e) {
            reason = "interrupted";
        }
        long millis = (System.nanoTime() - start) / 1_000_000L;
        daemons.submit(scene::close);
        synchronized (System.out) {
            System.out.println(reason == null ? "PASS " + name + " " + millis : "FAIL " + name + " " + millis + " " + reason);
            System.out.flush();
        }
        return reason == null;
    }

    private static String describe(Throwable failure) {
        String where = "";
        for (var frame : failure.getStackTrace()) {
            if (frame.getClassName().endsWith("Scenarios")) {
                where = " at " + frame.getFileName() + ":" + frame.getLineNumber();
                break;
            }
        }
        String message = failure instanceof AssertionError ? failure.getMessage() : failure.toString();
        return String.valueOf(message).replaceAll("\\s+", " ") + where;
    }

    private static Thread daemon(Runnable task) {
        var thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    }
}
