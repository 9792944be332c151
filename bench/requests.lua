-- The load of one wrk: one request for each key of a file, in order or at
-- random. usage: wrk ... -s requests.lua URL -- FILE COUNT order|random

local keys, width, count, random, made
local i = 0

function init(args)
    local file = assert(io.open(args[1], "rb"))
    count = tonumber(args[2])
    keys = file:read("*a")
    file:close()
    width = #keys / count                       -- they all have one length
    random = args[3] == "random"
    math.randomseed(42)

    -- a few are made ahead, which spares wrk some work
    if count <= 2000 then
        made = {}
        for n = 0, count - 1 do made[n] = text(n) end
    end
end

function text(n)
    return "GET /v1/tenants HTTP/1.1\r\nHost: api.example.com\r\n"
        .. "Authorization: Bearer " .. keys:sub(n * width + 1, (n + 1) * width)
        .. "\r\n\r\n"
end

function request()
    local n = i
    if random then
        n = math.random(0, count - 1)
    else
        i = (i + 1) % count
    end
    return made and made[n] or text(n)
end

-- one line for the bench
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        "BENCH requests=%d duration=%d p50=%.0f p99=%.0f status=%d lost=%d\n",
        summary.requests, summary.duration, latency:percentile(50),
        latency:percentile(99), e.status,
        e.connect + e.read + e.write + e.timeout))
end
