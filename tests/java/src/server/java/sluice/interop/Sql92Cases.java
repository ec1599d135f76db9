package sluice.interop;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.broker.filter.MessageEvaluationContext;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.filter.expression.Expression;
import org.apache.rocketmq.filter.expression.MQFilterException;
import org.apache.rocketmq.filter.parser.SelectorParser;

/**
 * What the broker's SQL92 filter makes of expressions and properties.
 *
 * Without arguments: reads cases until the end of the input and writes one letter for each message. A
 * case is an expression and a number of messages; a message is a byte (0: the properties string as
 * stored, 1: the same with empty values allowed, put into a map piece by piece) and the string. Texts
 * are a 32-bit length and UTF-8.
 *
 * With "time", an expression and a properties string: prints the nanoseconds of a message from the
 * stored bytes on, and those of the evaluation alone.
 */
public final class Sql92Cases {
    private static final char NAME_END = 1;
    private static final char PROPERTY_END = 2;

    public static void main(String[] args) throws Exception {
        if (args.length == 3 && args[0].equals("time")) {
            time(args[1], args[2].getBytes(StandardCharsets.UTF_8));
            return;
        }
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 16));
        try (OutputStream out = new BufferedOutputStream(System.out, 1 << 16)) {
            while (true) {
                String expression;
                try {
                    expression = text(in);
                } catch (EOFException end) {
                    return;
                }
                answer(expression, in, out);
            }
        }
    }

    private static void answer(String text, DataInputStream in, OutputStream out) throws IOException {
        Expression expression = null;
        try {
            expression = SelectorParser.parse(text);
        } catch (MQFilterException refused) {
            // Stays null: the letter is X.
        }
        for (int left = in.readInt(); left > 0; left--) {
            boolean mapped = in.readByte() == 1;
            String properties = text(in);
            out.write(letter(expression, mapped ? map(properties) : decode(properties)));
        }
    }

    private static char letter(Expression expression, Map<String, String> properties) {
        if (expression == null) {
            return 'X';
        }
        try {
            Object result = expression.evaluate(new MessageEvaluationContext(properties));
            if (result == null) {
                return 'N';
            }
            return result == Boolean.TRUE ? 'T' : result == Boolean.FALSE ? 'F' : 'O';
        } catch (Throwable raised) {
            return 'E';
        }
    }

    private static String text(DataInputStream in) throws IOException {
        byte[] bytes = new byte[in.readInt()];
        in.readFully(bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static Map<String, String> decode(String properties) {
        return MessageDecoder.string2messageProperties(properties);
    }

    private static Map<String, String> map(String properties) {
        Map<String, String> map = new HashMap<>();
        for (String piece : properties.split(String.valueOf(PROPERTY_END))) {
            int at = piece.indexOf(NAME_END);
            if (at > 0) {
                map.put(piece.substring(0, at), piece.substring(at + 1));
            }
        }
        return map;
    }

    private static void time(String text, byte[] stored) throws Exception {
        Expression expression = SelectorParser.parse(text);
        Map<String, String> decoded = decode(new String(stored, StandardCharsets.UTF_8));
        // Turns of some milliseconds, of which the best counts: the others were disturbed, or not yet compiled.
        int rounds = 20_000;
        double whole = Double.MAX_VALUE;
        double evaluation = Double.MAX_VALUE;
        long passed = 0;
        for (int turn = 0; turn < 500; turn++) {
            long start = System.nanoTime();
            for (int round = 0; round < rounds; round++) {
                passed += matches(expression, decode(new String(stored, StandardCharsets.UTF_8)));
            }
            long middle = System.nanoTime();
            for (int round = 0; round < rounds; round++) {
                passed += matches(expression, decoded);
            }
            whole = Math.min(whole, (middle - start) / (double) rounds);
            evaluation = Math.min(evaluation, (System.nanoTime() - middle) / (double) rounds);
        }
        System.out.println(whole + " " + evaluation + " " + (passed > 0));
    }

    private static int matches(Expression expression, Map<String, String> properties) throws Exception {
        return expression.evaluate(new MessageEvaluationContext(properties)) == Boolean.TRUE ? 1 : 0;
    }
}
