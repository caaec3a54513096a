//! The page at `/` of the write port.

use service::config::PublicUrl;
use service::front_page::{FrontPage, WRITE_API};

/// The page, with the URLs under which clients reach both ports.
pub fn front_page(write_url: &PublicUrl, read_url: &PublicUrl) -> FrontPage {
    let demo = format!(
        "WRITE={write_url}/api/v1/chat_applications\n\
         CREATED=$(curl -s -H 'Content-Type: application/json' -d '{{\"chat_application\":{{\"name\":\"Support\"}}}}' $WRITE)\n\
         echo \"$CREATED\"\n\
         TOKEN=$(echo \"$CREATED\" | grep -o '[0-9a-f]\\{{32\\}}')\n\
         curl -X POST $WRITE/$TOKEN/chats\n\
         curl -H 'Content-Type: application/json' -d '{{\"message\":{{\"body\":\"Hello, Straße! 🚀\"}}}}' $WRITE/$TOKEN/chats/1/messages\n"
    );
    let description = "Here applications, chats and messages are made. What was made is read at the other port. Where keys are required, each command needs \
                       -H 'Authorization: Bearer KEY' too.";
    FrontPage::new(WRITE_API, description, ("The read API", read_url), demo)
}
