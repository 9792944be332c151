-- What an operator would write with lua-nginx-module: the record of a key from a
-- shared dictionary or from Redis, and the same rules as the other gateways of the
-- comparison. The key is hashed by SHA-256; a record is one hash in Redis.

local redis = require "nginx.redis"
local sha256 = require "nginx.sha256"
local bit = require "bit"

local find, sub, byte = string.find, string.sub, string.byte
local records = ngx.shared.records

local _M = {}

local UNKNOWN = "unknown"
local scope_of = { GET = "read:tenants", HEAD = "read:tenants", POST = "write:tenants" }

local function number(a, b, c, d)
    return ((a * 256 + b) * 256 + c) * 256 + d
end

-- "192.0.2.0/24 ..." as "first last first last ...", so that a hit only compares
local function ranges(ips)
    local out = {}
    for a, b, c, d, bits in ips:gmatch("(%d+)%.(%d+)%.(%d+)%.(%d+)/(%d+)") do
        local size = 2 ^ (32 - tonumber(bits))
        local first = number(a, b, c, d)
        first = first - first % size
        out[#out + 1] = first .. " " .. first + size - 1
    end
    return table.concat(out, " ")
end

local hex = {}
for i = 0, 255 do hex[string.char(i)] = string.format("%02x", i) end

local function read(digest)
    local r = redis:new()
    r:set_timeout(1000)
    if not r:connect("127.0.0.1", tonumber(ngx.var.redis_port)) then return nil end
    local f = r:hmget("plain:" .. digest:gsub(".", hex), "state", "expires", "enabled",
        "account", "tenant", "id", "scopes", "ips")
    if not f then return nil end
    r:set_keepalive(60000, 128)
    if f[1] == ngx.null then return UNKNOWN end
    return table.concat({ f[1], f[2], f[3], f[4], f[5], f[6], " " .. f[7] .. " ", ranges(f[8]) }, "\t")
end

local function allowed(list)
    if list == "" then return true end
    local client = number(byte(ngx.var.binary_remote_addr, 1, 4))
    local at = 1
    while true do
        local middle = find(list, " ", at, true)
        local stop = find(list, " ", middle + 1, true)
        local first, last = tonumber(sub(list, at, middle - 1)), tonumber(sub(list, middle + 1, (stop or 0) - 1))
        if client >= first and client <= last then return true end
        if not stop then return false end
        at = stop + 1
    end
end

-- seconds: how long a record is kept; 0: not at all
function _M.check(seconds)
    local var = ngx.var
    local header = var.http_authorization
    if not header or sub(header, 1, 7):lower() ~= "bearer " then return ngx.exit(401) end

    local hash = sha256:new()
    hash:update(sub(header, 8))
    local digest = hash:final()

    local record = seconds > 0 and records:get(digest)
    if not record then
        record = read(digest)
        if not record then return ngx.exit(503) end
        if seconds > 0 then records:set(digest, record, record == UNKNOWN and 5 or seconds) end
    end
    if record == UNKNOWN then return ngx.exit(401) end

    local field, at = {}, 1
    for i = 1, 7 do
        local stop = find(record, "\t", at, true)
        field[i] = sub(record, at, stop - 1)
        at = stop + 1
    end
    local expires = tonumber(field[2])
    if field[1] ~= "active" or field[3] ~= "1" or (expires > 0 and expires <= ngx.time()) then
        return ngx.exit(401)
    end
    if not allowed(sub(record, at)) then return ngx.exit(403) end
    local scope = scope_of[ngx.req.get_method()]
    if not scope or not find(field[7], " " .. scope .. " ", 1, true) then return ngx.exit(403) end

    var.account, var.tenant, var.credential = field[4], field[5], field[6]
    var.scopes = sub(field[7], 2, -2)
end

return _M
