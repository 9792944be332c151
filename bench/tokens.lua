-- The load of one wrk at the token endpoint: a login for each token.
-- usage: wrk ... -s tokens.lua URL

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.headers["Authorization"] = "Basic YmVuY2g6c2VjcmV0LW9mLXRoZS1iZW5jaC1jbGllbnQtb2Ytbm9ib2R5"
wrk.body = "grant_type=client_credentials&scope=read%3Atenants"

-- one line for the bench
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        "BENCH requests=%d duration=%d p50=%.0f p99=%.0f status=%d lost=%d\n",
        summary.requests, summary.duration, latency:percentile(50),
        latency:percentile(99), e.status,
        e.connect + e.read + e.write + e.timeout))
end
