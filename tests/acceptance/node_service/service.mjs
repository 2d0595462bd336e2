// Charge a card in the trace of the message whose traceparent is given, and send the spans to OTEL_EXPORTER_OTLP_TRACES_ENDPOINT.
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [, , traceparent, correlationId] = process.argv;
const [, traceId, spanId] = traceparent.split("-");
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": "node-payments" }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
const tracer = provider.getTracer("node-payments");
const incoming = trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: 1, isRemote: true });
const charge = tracer.startSpan("charge card", {
  kind: SpanKind.SERVER, attributes: { "messaging.message.conversation_id": correlationId },
}, incoming);
const ask = tracer.startSpan("POST acquirer", { kind: SpanKind.CLIENT }, trace.setSpan(incoming, charge));
ask.setStatus({ code: SpanStatusCode.ERROR, message: "declined" });
ask.end();
charge.end();
await provider.forceFlush();
await provider.shutdown();
