package sluice.interop;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Runs scenarios with the gRPC client through the proxy at {@code -Dinterop.proxy}; its port for remoting
 * clients is {@code -Dinterop.proxy.remoting}. Arguments and output are those of {@link Scenarios}; the name
 * server in them is the brokers' own, for what the proxy does not serve.
 */
public final class ProxyScenarios {
    private ProxyScenarios() {}

    public static void main(String[] args) throws Exception {
        Map<String, Scenarios.Body> all = new LinkedHashMap<>();
        GrpcTransactionScenarios.register(all);
        GrpcRetryScenarios.register(all);
        GrpcPopScenarios.register(all);
        GrpcOrderScenarios.register(all);
        GrpcSendScenarios.register(all);
        Scenarios.run(args, all);
    }
}
