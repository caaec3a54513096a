-- For wrk: posts messages of about 60 bytes. With an argument N, the URL is the list of chats, and chats 1 to N get messages in turn.
local body = '{"message":{"body":"Good morning! Could somebody look at order 4711, please?"}}'
local requests, next_request = {}, 0

function init(args)
  local headers = { ["Content-Type"] = "application/json" }
  local chats = tonumber(args[1])
  if not chats then
    requests[0] = wrk.format("POST", wrk.path, headers, body)
  else
    for chat = 1, chats do
      requests[chat - 1] = wrk.format("POST", wrk.path .. "/" .. chat .. "/messages", headers, body)
    end
  end
  requests.count = chats or 1
end

function request()
  next_request = (next_request + 1) % requests.count
  return requests[next_request]
end
