-- wrk: posts one message of about 60 bytes.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"message":{"body":"Good morning! Could somebody look at order 4711, please?"}}'
