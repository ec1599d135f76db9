package golden;

import java.io.PrintWriter;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.CommandCustomHeader;
import org.apache.rocketmq.remoting.protocol.LanguageCode;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RemotingSerializable;
import org.apache.rocketmq.remoting.protocol.SerializeType;
import org.apache.rocketmq.store.StoreCheckpoint;
import org.apache.rocketmq.store.index.IndexFile;

/** Prints vectors: {@code GoldenVectors <inputs folder> <output folder> <version ordinal>}. */
public final class GoldenVectors {
    private static final long TIME = 1_700_000_000_000L;

    private final Path inputs;
    private final Path outputs;
    private final int ordinal;

    private GoldenVectors(Path inputs, Path outputs, int ordinal) {
        this.inputs = inputs;
        this.outputs = outputs;
        this.ordinal = ordinal;
    }

    public static void main(String[] args) throws Exception {
        GoldenVectors vectors = new GoldenVectors(Path.of(args[0]), Path.of(args[1]), Integer.parseInt(args[2]));
        Files.createDirectories(vectors.outputs);
        vectors.frames();
        vectors.messages();
        vectors.bodies();
        vectors.hashes();
        vectors.storeFiles();
        vectors.configFiles();
        System.exit(0); // client classes start threads of their own
    }

    // ---- frames ----

    private void frames() throws Exception {
        try (PrintWriter out = writer("frames.txt")) {
            for (String line : lines("frames.txt")) {
                String[] column = line.split("\t", -1);
                for (SerializeType type : SerializeType.values()) {
                    frame(out, column, type);
                }
            }
        }
    }

    private void frame(PrintWriter out, String[] column, SerializeType type) throws Exception {
        CommandCustomHeader header = header(column[3], column[4]);
        RemotingCommand command = RemotingCommand.createRequestCommand(Integer.parseInt(column[1]), header);
        command.setOpaque(Integer.parseInt(column[2]));
        command.setLanguage(LanguageCode.JAVA);
        command.setVersion(ordinal);
        command.setSerializeTypeCurrentRPC(type);
        if (column[6].equals("oneway")) {
            command.markOnewayRPC();
        } else if (column[6].equals("response")) {
            command.markResponseType();
        }
        if (!column[7].isEmpty()) {
            command.setRemark(unescape(column[7]));
        }
        if (!column[5].isEmpty()) {
            command.setBody(column[5].getBytes(StandardCharsets.UTF_8));
        }
        out.println("[" + column[0] + " " + type + "]");
        out.println("code\t" + command.getCode());
        out.println("opaque\t" + command.getOpaque());
        out.println("flag\t" + command.getFlag());
        if (command.getRemark() != null) {
            out.println("remark\t" + escape(command.getRemark()));
        }
        out.println("version\t" + ordinal);
        ByteBuffer buffer = command.encode();
        // What the real decoder finds in the real bytes: sorted, so that reviews see changes only.
        ByteBuffer rest = buffer.duplicate();
        rest.position(4);
        RemotingCommand decoded = RemotingCommand.decode(rest.slice());
        Map<String, String> ext = decoded.getExtFields();
        if (ext != null) {
            // Binary headers cannot tell an empty value from none, and Java reads none.
            new TreeMap<>(ext).forEach((k, v) ->
                out.println(v == null ? "null\t" + escape(k) : "ext\t" + escape(k) + "\t" + escape(v)));
        }
        if (command.getBody() != null) {
            out.println("body\t" + hex(command.getBody()));
        }
        out.println("frame\t" + hex(remaining(buffer)));
        out.println();
    }

    private static CommandCustomHeader header(String className, String fields) throws Exception {
        if (className.equals("-")) {
            return null;
        }
        Class<?> type = find(className);
        if (type == null) {
            throw new IllegalStateException("no header class " + className);
        }
        Object header = type.getDeclaredConstructor().newInstance();
        for (String field : fields.split(";")) {
            int at = field.indexOf('=');
            if (at > 0) {
                set(header, field.substring(0, at), unescape(field.substring(at + 1)));
            }
        }
        return (CommandCustomHeader) header;
    }

    private static void set(Object target, String name, String text) throws Exception {
        Field field = field(target.getClass(), name);
        field.setAccessible(true);
        Class<?> type = field.getType();
        Object value = text;
        if (type == Integer.class || type == int.class) {
            value = Integer.valueOf(text);
        } else if (type == Long.class || type == long.class) {
            value = Long.valueOf(text);
        } else if (type == Boolean.class || type == boolean.class) {
            value = Boolean.valueOf(text);
        }
        field.set(target, value);
    }

    private static Field field(Class<?> type, String name) throws NoSuchFieldException {
        for (Class<?> at = type; at != null; at = at.getSuperclass()) {
            try {
                return at.getDeclaredField(name);
            } catch (NoSuchFieldException tryParent) {
                continue;
            }
        }
        throw new NoSuchFieldException(type + "." + name);
    }

    // ---- messages ----

    private void messages() throws Exception {
        try (PrintWriter out = writer("messages.txt")) {
            String v4 = "10.0.0.9";
            String v6 = "2001:db8::9";
            record(out, "v4-v4", "orders", v4, "10.0.0.1", "hello", 0);
            record(out, "v6-v4", "orders", v6, "10.0.0.1", "hello", 0);
            record(out, "v4-v6", "orders", v4, "fe80::1", "hello", 0);
            record(out, "v6-v6", "orders", v6, "fe80::1", "hello", 0);
            record(out, "empty-body", "orders", v4, "10.0.0.1", "", 0);
            record(out, "unicode", "orders", v4, "10.0.0.1", "你好 😀", 0);
            record(out, "topic-127", "t".repeat(127), v4, "10.0.0.1", "x", 0);
            record(out, "compressed", "orders", v4, "10.0.0.1", "abc".repeat(500), 1);
            if (encoderClass() != null) {
                record(out, "topic-128", "t".repeat(128), v4, "10.0.0.1", "x", 0);
            }
            batch(out);
            ids(out);
        }
    }

    private void record(PrintWriter out, String name, String topic, String born, String store, String body, int sysFlag)
        throws Exception {
        Class<?> encoder = encoderClass();
        MessageExt message = (MessageExt) (encoder == null ? MessageExt.class : find("MessageExtBrokerInner"))
            .getDeclaredConstructor().newInstance();
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        message.setTopic(topic);
        message.setBody(sysFlag == 1 ? UtilAll.compress(bytes, 5) : bytes);
        message.setQueueId(2);
        message.setFlag(7);
        message.setSysFlag(sysFlag);
        message.setBornTimestamp(TIME);
        message.setBornHost(host(born, 51000));
        message.setStoreTimestamp(TIME + 1);
        message.setStoreHost(host(store, 10911));
        message.setReconsumeTimes(3);
        message.setPreparedTransactionOffset(0);
        message.setQueueOffset(0);
        message.setCommitLogOffset(0);
        if (born.contains(":")) {
            message.setBornHostV6Flag();
        }
        if (store.contains(":")) {
            message.setStoreHostAddressV6Flag();
        }
        message.setTags("TagA");
        message.setKeys("k1 k2");
        message.putUserProperty("name", "订单 é");
        byte[] stored;
        if (encoder == null) {
            message.setBodyCRC(UtilAll.crc32(message.getBody()));
            stored = sysFlag == 1 ? null : MessageDecoder.encode(message, false);
        } else {
            message.setBodyCRC(UtilAll.crc32(message.getBody()));
            stored = stored(encoder, message);
        }
        if (stored == null) {
            return; // 4.9.8's decoder class compresses on its own there
        }
        out.println("[record " + name + "]");
        out.println("topic\t" + topic);
        out.println("born\t" + hostText(born, 51000));
        out.println("store\t" + hostText(store, 10911));
        out.println("sysFlag\t" + sysFlag);
        out.println("body\t" + hex(message.getBody()));
        out.println("properties\t" + hex(MessageDecoder.messageProperties2String(message.getProperties()).getBytes(StandardCharsets.UTF_8)));
        out.println("bytes\t" + hex(stored));
        out.println();
    }

    private static Class<?> encoderClass() {
        return find("MessageExtEncoder");
    }

    /** The broker's own encoder; the append callback fills in the store's fields later. */
    private static byte[] stored(Class<?> encoderClass, MessageExt message) throws Exception {
        Method setProperties = message.getClass().getMethod("setPropertiesString", String.class);
        setProperties.invoke(message, MessageDecoder.messageProperties2String(message.getProperties()));
        if (message.getTopic().length() > 127) {
            Class<?> version = find("MessageVersion");
            message.getClass().getMethod("setVersion", version).invoke(message, version.getField("MESSAGE_VERSION_V2").get(null));
        }
        Class<?> config = find("MessageStoreConfig");
        Object encoder = encoderClass.getConstructor(config).newInstance(config.getDeclaredConstructor().newInstance());
        Object refusal = encoderClass.getMethod("encode", message.getClass()).invoke(encoder, message);
        if (refusal != null) {
            throw new IllegalStateException("encoder refuses: " + refusal);
        }
        Method getter = encoderClass.getDeclaredMethod("getEncoderBuffer");
        getter.setAccessible(true);
        // The buffer is as large as the largest message; the record says its own size.
        ByteBuffer buffer = (ByteBuffer) getter.invoke(encoder);
        return java.util.Arrays.copyOf(remaining(buffer), buffer.getInt(0));
    }

    private void batch(PrintWriter out) {
        Message first = new Message("orders", "TagA", "k1", "a".getBytes(StandardCharsets.UTF_8));
        Message second = new Message("orders", "bc".getBytes(StandardCharsets.UTF_8));
        second.setFlag(9);
        List<Message> messages = List.of(first, second, new Message("orders", new byte[0]));
        out.println("[batch three]");
        for (Message message : messages) {
            out.println("item\t" + message.getFlag() + "\t" + hex(message.getBody()) + "\t"
                + hex(MessageDecoder.messageProperties2String(message.getProperties()).getBytes(StandardCharsets.UTF_8)));
        }
        out.println("bytes\t" + hex(MessageDecoder.encodeMessages(messages)));
        out.println();
    }

    private void ids(PrintWriter out) throws Exception {
        for (String ip : new String[] {"10.0.0.1", "255.255.255.255", "fe80::1"}) {
            for (long offset : new long[] {0, 4096, Long.MAX_VALUE}) {
                out.println("[id]");
                out.println("store\t" + hostText(ip, 10911));
                out.println("offset\t" + offset);
                out.println("id\t" + MessageDecoder.createMessageId(host(ip, 10911), offset));
                out.println();
            }
        }
    }

    // ---- JSON ----

    private void bodies() throws Exception {
        try (PrintWriter out = writer("bodies.txt")) {
            for (String line : lines("bodies.txt")) {
                int tab = line.indexOf('\t');
                Class<?> type = find(line.substring(0, tab));
                if (type == null) {
                    continue;
                }
                Object body = RemotingSerializable.fromJson(line.substring(tab + 1), type);
                out.println(type.getSimpleName() + "\t" + RemotingSerializable.toJson(body, false));
            }
        }
    }

    private void configFiles() throws Exception {
        String version = "\"dataVersion\":{\"counter\":3,\"stateVersion\":0,\"timestamp\":" + TIME + "}";
        config("topics.json", "TopicConfigSerializeWrapper", "{" + version
            + ",\"topicConfigTable\":{\"orders\":{\"topicName\":\"orders\",\"readQueueNums\":8,\"writeQueueNums\":8,\"perm\":6}}}");
        config("subscriptionGroup.json", "SubscriptionGroupWrapper", "{" + version
            + ",\"subscriptionGroupTable\":{\"g1\":{\"groupName\":\"g1\"}}}");
        // The manager class is what the broker writes; without it (4.9.8) the body of request 43 has the same members.
        String offsets = "{" + version + ",\"offsetTable\":{\"orders@g1\":{0:12,1:9}}}";
        Class<?> manager = find("ConsumerOffsetManager");
        if (manager == null) {
            config("consumerOffset.json", "ConsumerOffsetSerializeWrapper", offsets);
            return;
        }
        Object offsetManager = manager.getDeclaredConstructor().newInstance();
        manager.getMethod("decode", String.class).invoke(offsetManager, offsets);
        Files.writeString(outputs.resolve("consumerOffset.json"),
            (String) manager.getMethod("encode", boolean.class).invoke(offsetManager, true));
    }

    private void config(String file, String className, String json) throws Exception {
        Object body = RemotingSerializable.fromJson(json, find(className));
        Files.writeString(outputs.resolve(file), RemotingSerializable.toJson(body, true));
    }

    // ---- hashes and store files ----

    private void hashes() throws Exception {
        try (PrintWriter out = writer("hashes.txt")) {
            for (String text : new String[] {"", "TagA", "TagB", "abarbarb", "标签", "é", "😀", "polygenelubricants", "ZZZZZZZZZZ"}) {
                out.println("hash\t" + text + "\t" + text.hashCode());
                out.println("crc\t" + text + "\t" + UtilAll.crc32(text.getBytes(StandardCharsets.UTF_8)));
            }
            Path file = Files.createTempDirectory("golden").resolve("20260101000000000");
            IndexFile index = new IndexFile(file.toString(), 5, 4, 0, 0);
            for (String key : new String[] {"orders#k1", "orders#订单", "orders#polygenelubricants", "#"}) {
                out.println("index\t" + key + "\t" + index.indexKeyHashMethod(key));
            }
        }
    }

    private void storeFiles() throws Exception {
        Path folder = Files.createTempDirectory("golden");
        try (PrintWriter out = writer("store-files.txt")) {
            Path indexPath = folder.resolve("20260101000000000");
            IndexFile index = new IndexFile(indexPath.toString(), 5, 4, 100, TIME);
            index.putKey("orders#k1", 4096, TIME + 1000);
            index.putKey("orders#k2", 8192, TIME + 5000);
            index.putKey("orders#k1", 12288, TIME + 9000);
            index.flush();
            // 40 bytes of header, 5 slots of 4 bytes, 4 entries of 20 bytes
            out.println("# index file of 5 slots and 4 entries: begin offset 100, begin time TIME; then orders#k1 at 4096 (TIME+1000),");
            out.println("# orders#k2 at 8192 (TIME+5000), orders#k1 at 12288 (TIME+9000); TIME = 1700000000000");
            out.println("index\t" + hex(Files.readAllBytes(indexPath)));
            Path checkpointPath = folder.resolve("checkpoint");
            StoreCheckpoint checkpoint = new StoreCheckpoint(checkpointPath.toString());
            checkpoint.setPhysicMsgTimestamp(TIME);
            checkpoint.setLogicsMsgTimestamp(TIME + 1);
            checkpoint.setIndexMsgTimestamp(TIME + 2);
            checkpoint.flush();
            byte[] bytes = Files.readAllBytes(checkpointPath);
            out.println("# checkpoint: physical TIME, logical TIME+1, index TIME+2; its first 64 bytes, then its size");
            out.println("checkpoint\t" + hex(java.util.Arrays.copyOf(bytes, 64)) + "\t" + bytes.length);
            ByteBuffer unit = ByteBuffer.allocate(20);
            unit.putLong(4096).putInt(116).putLong("TagA".hashCode());
            out.println("# consume queue unit, as its layout is defined: offset 4096, size 116, tag TagA");
            out.println("unit\t" + hex(unit.array()));
        }
    }

    // ---- small things ----

    private static final String[] PACKAGES = {
        "org.apache.rocketmq.remoting.protocol.header.", "org.apache.rocketmq.remoting.protocol.header.namesrv.",
        "org.apache.rocketmq.remoting.protocol.body.", "org.apache.rocketmq.remoting.protocol.heartbeat.",
        "org.apache.rocketmq.remoting.protocol.route.", "org.apache.rocketmq.remoting.protocol.admin.",
        "org.apache.rocketmq.remoting.protocol.subscription.", "org.apache.rocketmq.remoting.protocol.",
        "org.apache.rocketmq.common.protocol.header.", "org.apache.rocketmq.common.protocol.header.namesrv.",
        "org.apache.rocketmq.common.protocol.body.", "org.apache.rocketmq.common.protocol.heartbeat.",
        "org.apache.rocketmq.common.protocol.route.", "org.apache.rocketmq.common.subscription.",
        "org.apache.rocketmq.common.admin.", "org.apache.rocketmq.common.message.", "org.apache.rocketmq.common.",
        "org.apache.rocketmq.store.", "org.apache.rocketmq.store.config.", "org.apache.rocketmq.broker.offset.",
    };

    private static Class<?> find(String simpleName) {
        for (String prefix : PACKAGES) {
            try {
                return Class.forName(prefix + simpleName);
            } catch (ClassNotFoundException | NoClassDefFoundError tryNext) {
                continue;
            }
        }
        return null;
    }

    private List<String> lines(String file) throws Exception {
        List<String> lines = new ArrayList<>();
        for (String line : Files.readAllLines(inputs.resolve(file))) {
            if (!line.isEmpty() && !line.startsWith("#")) {
                lines.add(line);
            }
        }
        return lines;
    }

    private PrintWriter writer(String file) throws Exception {
        return new PrintWriter(Files.newBufferedWriter(outputs.resolve(file))) {
            @Override
            public void println(String line) {
                print(line + "\n");
            }

            @Override
            public void println() {
                print("\n");
            }
        };
    }

    private static InetSocketAddress host(String ip, int port) throws Exception {
        return new InetSocketAddress(InetAddress.getByName(ip), port);
    }

    private static String hostText(String ip, int port) {
        return (ip.contains(":") ? "[" + ip + "]" : ip) + ":" + port;
    }

    private static byte[] remaining(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }

    private static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte b : bytes) {
            text.append(String.format("%02x", b));
        }
        return text.toString();
    }

    /** Control characters and backslashes as \\uXXXX. */
    private static String escape(String text) {
        StringBuilder out = new StringBuilder();
        for (char c : text.toCharArray()) {
            out.append(c < ' ' || c == '\\' ? String.format("\\u%04x", (int) c) : String.valueOf(c));
        }
        return out.toString();
    }

    private static String unescape(String text) {
        StringBuilder out = new StringBuilder();
        for (int at = 0; at < text.length(); at++) {
            char c = text.charAt(at);
            if (c != '\\') {
                out.append(c);
            } else if (text.charAt(at + 1) == 'u') {
                out.append((char) Integer.parseInt(text.substring(at + 2, at + 6), 16));
                at += 5;
            } else {
                at++;
                out.append(text.charAt(at) == 'n' ? '\n' : text.charAt(at));
            }
        }
        return out.toString();
    }
}
