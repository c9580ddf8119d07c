-- Who a request's user is, asked of somebody who knows users. HAProxy runs this for requests of
-- rows with auth: `http-request lua.stateward-ask AUTH URL THROUGH HEADER`, where THROUGH is the
-- address of our own `listen ask`, which keeps the time limits, and HEADER names the user in an
-- answer, in small letters.
--
-- It sets `txn.passes` and `txn.user`. Any other answer to `hard` is the client's. After an error
-- in here HAProxy goes on, so what lets a request in is that `txn.passes` is set, nothing else.

local LONGEST = 8000 -- bytes of a body: an answer is one buffer of 16 KiB, with its headers
local MILLISECONDS = 8000 -- longer than all limits of `listen ask`
local HOP_BY_HOP = {
  ["connection"] = true,
  ["content-length"] = true,
  ["keep-alive"] = true,
  ["transfer-encoding"] = true,
  ["upgrade"] = true,
}

-- Headers come as tables that begin at 0.
local function each(values)
  local at = -1
  return function()
    at = at + 1
    return values and values[at]
  end
end

local function joined(values, mark)
  local found = {}
  for value in each(values) do
    found[#found + 1] = value
  end
  return #found > 0 and { table.concat(found, mark) } or nil
end

local function question(txn)
  local sent = txn.http:req_get_headers()
  return {
    ["authorization"] = joined(sent["authorization"], ", "),
    ["cookie"] = joined(sent["cookie"], "; "),
    ["x-forwarded-for"] = { txn.sf:req_fhdr("x-forwarded-for") },
    ["x-forwarded-host"] = { txn.sf:req_fhdr("x-forwarded-host") },
    ["x-forwarded-method"] = { txn.sf:method() },
    ["x-forwarded-proto"] = { txn.sf:req_fhdr("x-forwarded-proto") },
    ["x-forwarded-uri"] = { txn.sf:pathq() },
  }
end

local function say(txn, answer)
  local body = answer.body or ""
  local reply = txn:reply({ status = answer.status, body = #body <= LONGEST and body or "" })
  for name, values in pairs(answer.headers) do
    if not HOP_BY_HOP[name] then
      for value in each(values) do
        reply:add_header(name, value)
      end
    end
  end
  txn:done(reply)
end

local function ask(txn, auth, url, through, header)
  local answer = core.httpclient():get({
    url = url .. "?auth=" .. auth,
    dst = through,
    headers = question(txn),
    timeout = MILLISECONDS,
  })
  local status = answer and answer.status or 0
  if status >= 200 and status < 300 then
    local user = answer.headers[header] and answer.headers[header][0]
    if user and user ~= "" then
      txn:set_var("txn.user", user)
    end
    txn:set_var("txn.passes", true)
  elseif auth == "hard" and status >= 300 and status < 500 then
    say(txn, answer)
  end
end

core.register_action("stateward-ask", { "http-req" }, ask, 4)
